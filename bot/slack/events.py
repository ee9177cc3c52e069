"""From Slack's events and their markup to a ``Message``: what a person wrote, and to whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from assistant.knowledge.audience import EVERYONE, Audience, by_email

PLATFORM = "slack"

# What an event that names no message would name.
NOWHERE: dict[str, Any] = {
    "team": "", "channel": "", "user": "", "ts": "", "thread": "", "text": "", "direct": False, "outsiders": False,
}  # fmt: skip

ATTACHED_CHARS = 2_000  # of what is forwarded, or stands in blocks: enough to search with

_SPOKEN = (None, "file_share", "thread_broadcast")  # message subtypes that people write
_TOKEN = re.compile(r"<([^<>\n]+)>")
_SCHEME = re.compile(r"^(?:mailto:|tel:|https?://)")
_SOMEBODY = re.compile(r"\A\s*<(?:@|!subteam\^)([A-Z0-9]+)")


@dataclass(frozen=True, slots=True)
class Message:
    """What a person wrote to the bot. ``outsiders``: people of another company can read the channel.

    ``kind`` says what is to be done: ``message`` is answered in its thread, ``edit`` and ``regenerate`` anew in place
    of the answer ``replaces``, ``ask`` for its asker alone through ``reply_url``.
    """

    team: str
    channel: str
    user: str
    ts: str
    thread: str
    text: str
    direct: bool
    outsiders: bool
    kind: str = "message"
    bot: str = ""  # the bot's own user id, where the event names it
    unprompted: bool = False
    files: tuple[tuple[str, str], ...] = ()  # id and name of what was shared with it
    replaces: str = ""
    edited: str = ""  # when it was edited, as Slack stamps it
    reply_url: str = ""

    @classmethod
    def from_event(cls, body: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> Message | None:
        """What a person wrote, in an event callback; None for everything else. ``event`` stands for the body's."""
        event = event if event is not None else body.get("event") or {}
        channel, user, ts = event.get("channel"), event.get("user"), event.get("ts")
        bot = bot_user(body)
        if not (isinstance(channel, str) and isinstance(user, str) and isinstance(ts, str)):
            return None
        if event.get("bot_id") or user == bot or event.get("subtype") not in _SPOKEN:
            return None
        if event.get("type") not in ("message", "app_mention"):
            return None
        return cls(
            team=str(body.get("team_id") or event.get("team") or ""),
            channel=channel,
            user=user,
            ts=ts,
            thread=str(event.get("thread_ts") or ts),
            text=said(event, bot, event.get("type") == "app_mention"),
            direct=event.get("channel_type") == "im" or channel.startswith("D"),
            outsiders=bool(body.get("is_ext_shared_channel")),
            bot=bot or "",
            files=files_of(event),
        )

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Message:
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in payload.items() if key in known}
        return cls(**{**values, "files": tuple(tuple(item) for item in values.get("files") or ())})

    @property
    def key(self) -> str:
        """One message may come as several events, as ``app_mention`` and as ``message``."""
        return f"{self.team}:{self.channel}:{self.ts}"

    @property
    def conversation(self) -> str:
        if self.kind == "ask":  # nobody else's, and no thread's
            return f"{self.team}:{self.channel}:ask:{self.user}:{self.ts}"
        return f"{self.team}:{self.channel}:{self.thread}"

    @property
    def asker(self) -> str:
        return person(self.team, self.user)

    @property
    def audience(self) -> Audience:
        """Everybody who can read the reply."""
        if self.direct or self.kind == "ask":
            return own_audience(self.team, self.user, self.outsiders)
        return channel_audience(self.team, self.channel, self.outsiders)

    def payload(self) -> dict[str, Any]:
        """As stored in the inbox; ``from_payload`` brings it back."""
        return asdict(self)


def own_audience(team: str, user: str, outsiders: bool = False, email: str = "") -> Audience:
    """What somebody may read alone; by address, too, where that is known, for that is how sources name people.

    What everyone in the company may read, outsiders may not.
    """
    audience = Audience.person(PLATFORM, f"{team}:{user}", *by_email(email))
    return Audience(audience.principals - {EVERYONE}) if outsiders else audience


def channel_audience(team: str, channel: str, outsiders: bool = False) -> Audience:
    """What every member of a channel may read."""
    place = f"channel:{PLATFORM}:{team}:{channel}"
    return Audience(frozenset({place} if outsiders else {EVERYONE, place}))


def person(team: str, user: str) -> str:
    """The stable name of somebody on Slack."""
    return f"{PLATFORM}:{team}:{user}"


def mentions(event: Mapping[str, Any], bot: str | None) -> bool:
    """Whether the message calls the bot."""
    text = str(event.get("text") or "")
    return event.get("type") == "app_mention" or bool(bot and (f"<@{bot}>" in text or f"<@{bot}|" in text))


def speaks_to_another(event: Mapping[str, Any], bot: str | None) -> bool:
    """Whether the message begins with the name of somebody else."""
    match = _SOMEBODY.match(str(event.get("text") or ""))
    return match is not None and match[1] != bot


def files_of(event: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Id and name of each file that a message carries."""
    files = [item for item in event.get("files") or () if isinstance(item, dict) and item.get("id")]
    return tuple((str(item["id"]), str(item.get("name") or item.get("title") or item["id"])) for item in files)


def said(message: Mapping[str, Any], bot: str | None, mention: bool = False) -> str:
    """What a message says: its words without the bot's mention, and those that it forwards. One that has neither, such
    as an alert of another app, says what its blocks and attachments do."""
    attached = [one for one in message.get("attachments") or () if isinstance(one, dict)]
    forwarded = [plain(_words(one.get("text"))[:ATTACHED_CHARS], None) for one in attached if one.get("is_share")]
    found = [plain(str(message.get("text") or ""), bot, mention), *forwarded]
    if not any(found):
        found = [plain("\n".join(_shown({**message, "text": ""}))[:ATTACHED_CHARS], None)]
    return "\n\n".join(filter(None, found))


def _shown(part: Any) -> Iterator[str]:
    """The words in blocks and attachments, in their order; of each of the latter its fallback where it has no other."""
    if isinstance(part, list):
        for one in part:
            yield from _shown(one)
    elif isinstance(part, dict) and str(part.get("type")).startswith("rich_text_"):  # a paragraph, in runs
        yield "".join(_shown(part.get("elements")))
    elif isinstance(part, dict):
        words = [_words(part.get(name)) for name in ("pretext", "title", "text", "value")]
        inner = [
            shown
            for name in ("text", "fields", "elements", "blocks", "attachments")
            for shown in _shown(part.get(name))
        ]
        found = [*filter(None, words), *inner]
        yield from found or filter(None, [_words(part.get("fallback"))])


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def plain(text: str, bot: str | None, mention: bool = False) -> str:
    """Slack's markup as plain text, without the mention of the bot."""
    own = re.escape(bot) if bot else "[UW][A-Z0-9]+"
    where = r"(?:(?<!\s)\s+)?" if bot else r"\A\s*"  # whose name is not known, stands only at the very beginning
    if bot or mention:
        text = re.sub(rf"{where}<@{own}(?:\|[^<>]*)?>[:,]?\s*", " ", text)
    text = _TOKEN.sub(lambda match: _spoken(match.group(1)), text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()  # neither can be stored
    return text.strip()


def _spoken(token: str) -> str:
    target, _, label = token.partition("|")
    if target[0] in "@#":
        return target[0] + (label.lstrip("@#") or target[1:])
    if target[0] == "!":
        return label or "@" + target[1:].partition("^")[0]
    if not label or label == target or label == _SCHEME.sub("", target).rstrip("/"):
        return label or target
    return f"{label} ({target})"


def bot_user(body: Mapping[str, Any]) -> str | None:
    """The bot's own user id: the event says on whose behalf it was sent."""
    for authorization in body.get("authorizations") or ():
        if authorization.get("is_bot"):
            return str(authorization.get("user_id") or "") or None
    return None


def later(one: str, other: str) -> bool:
    """Whether a stamp of Slack's is after another; an empty one is before all."""
    try:
        return float(one or 0) > float(other or 0) and bool(other)
    except ValueError:
        return False
