"""From the JSON of an activity to plain data. What is not for us is None; what cannot be read is ``Malformed``."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from assistant.knowledge.audience import EVERYONE, Audience
from bot.teams.port import Place

MAX_FILES = 10
MAX_FIELD = 30_000  # characters of one field: a card holds no more, and the addresses of ten files may take it all
_DIRECTORY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_REASON = 2_000  # characters of a vote's free text
MENTION = re.compile(r"<at\b[^<>]*+>((?:(?!</?at\b).)*+)</at>", re.IGNORECASE | re.DOTALL)


class Malformed(Exception):
    """The activity lacks what every activity of its kind has."""


Kind = Literal["message", "welcome", "edit", "delete", "action"]


@dataclass(frozen=True, slots=True)
class File:
    """A file that somebody sent; ``url`` is where its bytes are for a few minutes, "" where Teams gives none."""

    name: str
    url: str
    id: str
    link: str = ""  # where people open it


@dataclass(frozen=True, slots=True)
class Incoming:
    """What somebody wrote, changed, took back or pressed, or the bot's arrival; stored as the event's payload.

    Fields with a default came later than the others: an event stored by an older version lacks them.
    """

    kind: Kind
    activity_id: str
    service_url: str
    conversation: str
    personal: bool
    tenant: str
    person: str  # the person's id in the directory where Teams names it, else the one in the conversation
    user_id: str
    bot_id: str
    text: str
    name: str = ""
    locale: str = ""
    targeted: bool = False  # only the bot sees the message, and only its sender is to see the reply
    unprompted: bool = False  # nobody called the bot
    files: tuple[File, ...] = ()
    of: str = ""  # the key of the message that is changed or taken back
    verb: str = ""  # of a button
    data: dict[str, str] = field(default_factory=dict)  # of a button, with the card's fields
    replaces: str = ""  # id of the answer that is asked for again
    stamp: str = ""  # tells apart several changes of one message; the keys of edits sort by their time
    outsiders: bool = False  # the channel is a shared one, which people of other companies may read

    @property
    def key(self) -> str:
        return f"{self.conversation}|{self.activity_id}{self.stamp and '|' + self.stamp}"

    @property
    def place(self) -> Place:
        return Place(self.service_url, self.conversation, self.bot_id, self.user_id, self.tenant, self.personal)

    @property
    def channel(self) -> str:
        """The conversation without the thread in it: whom it reaches, and whose settings hold."""
        return self.conversation.partition(";messageid")[0]

    @property
    def asker(self) -> str:
        return f"teams:{self.tenant}:{self.person}"

    def payload(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restore(cls, payload: dict[str, Any]) -> Incoming:
        found = {field.name: payload[field.name] for field in fields(cls) if field.name in payload}
        files = tuple(File(**file) for file in found.pop("files", ()))
        return cls(**found, files=files)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb under a message. ``message_id`` is None where the client does not say which (the Playground)."""

    conversation: str
    message_id: str | None
    voter: str
    value: int
    reason: str | None


def message(body: dict[str, Any]) -> Incoming | None:
    """A person's message: in a personal chat every one, elsewhere those that mention the bot or only it can see."""
    incoming = _said(body)
    if incoming is None or not (incoming.personal or incoming.targeted or _mentioned(body)):
        return None
    return incoming


def overheard(body: dict[str, Any]) -> Incoming | None:
    """A message among people, none of them called by name; Teams sends it only where the app may read all messages."""
    incoming = _said(body)
    if incoming is None or incoming.personal or incoming.targeted or _mentions(body) or not incoming.text:
        return None
    return replace(incoming, unprompted=True)


def edit(body: dict[str, Any]) -> Incoming | None:
    """A message that was changed, or brought back after it was deleted."""
    if _text(body, "channelData", "eventType") not in {"editMessage", "undeleteMessage"}:
        return None
    incoming = _said(body)
    if incoming is None:
        return None
    digest = hashlib.sha256(incoming.text.encode()).hexdigest()[:8]
    return replace(incoming, kind="edit", of=incoming.key, stamp=f"edit-{_text(body, 'timestamp')[:40]}-{digest}")


def deletion(body: dict[str, Any]) -> Incoming | None:
    """A message that its writer took back; its text is not there any more."""
    if _text(body, "channelData", "eventType") != "softDeleteMessage":
        return None
    incoming = _incoming(body, "delete", _needed(body, "id"), "")
    digest = hashlib.sha256(_text(body, "timestamp").encode()).hexdigest()[:16]
    return replace(incoming, of=incoming.key, stamp=f"delete-{digest}")


def welcome(body: dict[str, Any]) -> Incoming | None:
    """The bot itself was added to a conversation; anybody else's arrival is not for us.

    An installation is told twice, as a change of the conversation and of the installation: one day's are one.
    """
    bot = _needed(body, "recipient", "id")
    added = body.get("membersAdded")
    installed = _text(body, "type") == "installationUpdate" and _text(body, "action") == "add"
    joined = isinstance(added, list) and any(_text(member, "id") == bot for member in added)
    if not installed and not joined:
        return None
    return _incoming(body, "welcome", f"welcome-{_text(body, 'timestamp')[:10]}", "")


def action(body: dict[str, Any]) -> Incoming | None:
    """A button of a card of ours, from an invoke (Action.Execute) or as a message without text (Action.Submit)."""
    value = body.get("value")
    pressed = value.get("action") if isinstance(value, dict) and isinstance(value.get("action"), dict) else value
    data = pressed.get("data", pressed) if isinstance(pressed, dict) else None
    if not isinstance(data, dict) or not (verb := _text(data, "almanac")):
        return None
    incoming = _incoming(body, "action", _text(body, "id") or _text(body, "replyToId") or "action", "")
    said = {name: _flat(found) for name, found in data.items() if name != "almanac"}
    outsiders = incoming.outsiders or bool(said.get("outsiders"))
    return replace(incoming, verb=verb, data=said, stamp=verb, outsiders=outsiders)


def feedback(body: dict[str, Any]) -> Feedback | None:
    """A vote; its free text comes as a JSON string from Teams and as plain text from the Playground."""
    value = body.get("value")
    if isinstance(value, dict) and isinstance(value.get("data"), dict) and "actionName" not in value:
        value = value["data"]  # so it comes from a dialog
    if _text(value, "actionName") != "feedback":
        return None
    given = value.get("actionValue") if isinstance(value, dict) else None
    thumb = {"like": 1, "dislike": -1}.get(_text(given, "reaction"))
    if thumb is None:
        return None
    return Feedback(
        conversation=_needed(body, "conversation", "id"),
        message_id=_text(body, "replyToId") or None,
        voter=f"teams:{tenant(body)}:{_person(body)}",
        value=thumb,
        reason=_reason(given.get("feedback") if isinstance(given, dict) else None),
    )


def locale(body: dict[str, Any]) -> str:
    return _text(body, "locale")[:20]


def own_audience(incoming: Incoming) -> Audience:
    """What the asker alone may read. The directory's id is also what readers in SharePoint are named by.

    In a shared channel anybody may be of another company, whom what everyone in ours may read is not for.
    """
    entra = (f"user:entra:{incoming.person}",) if _DIRECTORY_ID.fullmatch(incoming.person) else ()
    own = Audience.person("teams", incoming.person, *entra)
    return Audience(own.principals - {EVERYONE}) if incoming.outsiders else own


def audience(incoming: Incoming) -> Audience:
    """Everybody who can read the reply: the asker alone, or whoever is in the group or channel."""
    if incoming.personal:
        return own_audience(incoming)
    place = f"channel:teams:{incoming.channel}"
    return Audience(frozenset({place} if incoming.outsiders else {EVERYONE, place}))


def tenant(body: dict[str, Any]) -> str:
    return _text(body, "channelData", "tenant", "id") or _text(body, "conversation", "tenantId")


def tenants(body: dict[str, Any]) -> set[str]:
    """Every tenant that the activity names."""
    return {_text(body, "channelData", "tenant", "id"), _text(body, "conversation", "tenantId")} - {""}


def service_url(body: dict[str, Any]) -> str:
    return _text(body, "serviceUrl")


def channel(body: dict[str, Any]) -> str:
    return _text(body, "channelId")


def _said(body: dict[str, Any]) -> Incoming | None:
    """What a person wrote; None for what bots write."""
    bot, sender = _needed(body, "recipient", "id"), _needed(body, "from", "id")
    _needed(body, "conversation", "id")
    if _text(body, "from", "role") == "bot" or sender.startswith("28:") or sender == bot:
        return None
    incoming = _incoming(body, "message", _needed(body, "id"), _question(body, bot))
    return replace(incoming, files=_files(body))


def _incoming(body: dict[str, Any], kind: Kind, activity_id: str, text: str) -> Incoming:
    recipient = body.get("recipient")
    return Incoming(
        kind=kind,
        activity_id=activity_id,
        service_url=service_url(body),
        conversation=_needed(body, "conversation", "id"),
        personal=_text(body, "conversation", "conversationType") == "personal",
        tenant=tenant(body),
        person=_person(body),
        user_id=_needed(body, "from", "id"),
        bot_id=_text(body, "recipient", "id"),
        text=text,
        name=_text(body, "from", "name")[:100],
        locale=locale(body),
        targeted=isinstance(recipient, dict) and recipient.get("isTargeted") is True,
        outsiders=_text(body, "channelData", "channel", "type").lower() == "shared",
    )


def _mentioned(body: dict[str, Any]) -> bool:
    bot = _text(body, "recipient", "id")
    return any(_text(entity, "mentioned", "id") == bot for entity in _mentions(body))


def _files(body: dict[str, Any]) -> tuple[File, ...]:
    attachments = body.get("attachments")
    found = []
    for attachment in attachments if isinstance(attachments, list) else []:
        kind = _text(attachment, "contentType").lower()
        if kind == "application/vnd.microsoft.teams.file.download.info":
            url, link = _text(attachment, "content", "downloadUrl"), _text(attachment, "contentUrl")
            name = _text(attachment, "name") or "file"
            found.append(File(name[:200], url, _text(attachment, "content", "uniqueId") or link or name, link))
        elif kind == "reference":  # a file in a channel, whose bytes Teams does not hand over
            found.append(File(_text(attachment, "name")[:200] or "file", "", _text(attachment, "contentUrl")))
    return tuple(found[:MAX_FILES])


def _flat(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value[:MAX_FIELD] if isinstance(value, str) else json.dumps(value)[:MAX_FIELD]


def _person(body: dict[str, Any]) -> str:
    return _text(body, "from", "aadObjectId") or _needed(body, "from", "id")


def _mentions(body: dict[str, Any]) -> list[dict[str, Any]]:
    entities = body.get("entities")
    found = entities if isinstance(entities, list) else []
    return [entity for entity in found if _text(entity, "type").lower() == "mention"]


def _question(body: dict[str, Any], bot: str) -> str:
    """The text without the bot's own mention; other people stay by name."""
    text = _text(body, "text")
    for entity in _mentions(body):
        mark = _text(entity, "text")
        if mark and _text(entity, "mentioned", "id") == bot:
            text = text.replace(mark, " ")
    text = MENTION.sub(r"\1", text).replace("&nbsp;", " ").replace("\xa0", " ")
    return re.sub(r"[ \t]+", " ", text).strip()


def _reason(given: Any) -> str | None:
    """What was said, from the default form, from our dialog (a choice and words), or as plain text."""
    decoded = given
    if isinstance(given, str):
        try:
            decoded = json.loads(given)
        except ValueError:
            decoded = given
    if isinstance(decoded, dict):
        decoded = ": ".join(filter(None, (_text(decoded, "choice"), _text(decoded, "feedbackText"))))
    said = decoded if isinstance(decoded, str) else str(given or "")
    return said.replace("\x00", "").strip()[:MAX_REASON] or None


def _needed(body: Any, *path: str) -> str:
    found = _text(body, *path)
    if not found:
        raise Malformed(".".join(path))
    return found


def _text(body: Any, *path: str) -> str:
    """The string at ``path``, free of what Postgres cannot store; "" where there is none."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    if not isinstance(body, str):
        return ""
    return body.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
