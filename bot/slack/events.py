"""From Slack's events and their markup to a ``Message``, and from there to a ``Question``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assistant.answering.messages import Question
from assistant.knowledge.audience import EVERYONE, Audience

PLATFORM = "slack"

_SPOKEN = (None, "file_share", "thread_broadcast")  # message subtypes that people write
_TOKEN = re.compile(r"<([^<>\n]+)>")
_SCHEME = re.compile(r"^(?:mailto:|tel:|https?://)")


@dataclass(frozen=True, slots=True)
class Message:
    """What a person wrote to the bot. ``outsiders``: people of another company can read the channel."""

    team: str
    channel: str
    user: str
    ts: str
    thread: str
    text: str
    direct: bool
    outsiders: bool

    @classmethod
    def from_event(cls, body: Mapping[str, Any]) -> Message | None:
        """The message in an event callback, or None when the event asks nothing of us."""
        event = body.get("event") or {}
        channel, user, ts = event.get("channel"), event.get("user"), event.get("ts")
        bot = _bot_user(body)
        if not (isinstance(channel, str) and isinstance(user, str) and isinstance(ts, str)):
            return None
        if event.get("bot_id") or user == bot or event.get("subtype") not in _SPOKEN:
            return None
        direct = event.get("channel_type") == "im" or channel.startswith("D")
        if event.get("type") != "app_mention" and not (event.get("type") == "message" and direct):
            return None
        team = str(body.get("team_id") or event.get("team") or "")
        text = plain(str(event.get("text") or ""), bot, event.get("type") == "app_mention")
        outsiders = bool(body.get("is_ext_shared_channel"))
        return cls(team, channel, user, ts, str(event.get("thread_ts") or ts), text, direct, outsiders)

    @property
    def key(self) -> str:
        """One message may come as several events, as ``app_mention`` and as ``message``."""
        return f"{self.team}:{self.channel}:{self.ts}"

    @property
    def audience(self) -> Audience:
        """Everybody who can read the reply. What everyone in the company may read, outsiders may not."""
        if self.direct:
            audience = Audience.person(PLATFORM, f"{self.team}:{self.user}")
        else:
            audience = Audience(frozenset({EVERYONE, f"channel:{PLATFORM}:{self.team}:{self.channel}"}))
        return Audience(audience.principals - {EVERYONE}) if self.outsiders else audience

    def payload(self) -> dict[str, Any]:
        """As stored in the inbox; ``Message(**payload)`` brings it back."""
        return asdict(self)

    def question(self, inbox_id: uuid.UUID) -> Question:
        return Question(
            text=self.text,
            asker=person(self.team, self.user),
            audience=self.audience,
            platform=PLATFORM,
            conversation=f"{self.team}:{self.channel}:{self.thread}",
            inbox_id=inbox_id,
        )


def person(team: str, user: str) -> str:
    """The stable name of somebody on Slack."""
    return f"{PLATFORM}:{team}:{user}"


def plain(text: str, bot: str | None, mention: bool = False) -> str:
    """Slack's markup as plain text, without the mention of the bot."""
    own = re.escape(bot) if bot else "[UW][A-Z0-9]+"
    where = r"\s*" if bot else r"\A\s*"  # not knowing its name, only what the message begins with can be the bot
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


def _bot_user(body: Mapping[str, Any]) -> str | None:
    """The bot's own user id: the event says on whose behalf it was sent."""
    for authorization in body.get("authorizations") or ():
        if authorization.get("is_bot"):
            return str(authorization.get("user_id") or "") or None
    return None
