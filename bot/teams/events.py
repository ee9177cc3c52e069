"""From the JSON of an activity to plain data. What is not for us is None; what cannot be read is ``Malformed``."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from bot.teams.port import Place

MAX_REASON = 2_000  # characters of a vote's free text
MENTION = re.compile(r"<at\b[^>]*>(.*?)</at>", re.IGNORECASE | re.DOTALL)


class Malformed(Exception):
    """The activity lacks what every activity of its kind has."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message to the bot, or its arrival in a conversation; stored as the event's payload."""

    kind: Literal["message", "welcome"]
    activity_id: str
    service_url: str
    conversation: str
    personal: bool
    tenant: str
    person: str  # the person's id in the directory where Teams names it, else the one in the conversation
    user_id: str
    bot_id: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.conversation}|{self.activity_id}"

    @property
    def place(self) -> Place:
        return Place(self.service_url, self.conversation, self.bot_id, self.user_id)

    @property
    def asker(self) -> str:
        return f"teams:{self.tenant}:{self.person}"

    def payload(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restore(cls, payload: dict[str, Any]) -> Incoming:
        return cls(**{field.name: payload[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb under a message. ``message_id`` is None where the client does not say which (the Playground)."""

    conversation: str
    message_id: str | None
    voter: str
    value: int
    reason: str | None


def message(body: dict[str, Any]) -> Incoming | None:
    """A person's message: in a personal chat every one, elsewhere those that mention the bot."""
    bot, sender = _needed(body, "recipient", "id"), _needed(body, "from", "id")
    _needed(body, "conversation", "id")
    if _text(body, "from", "role") == "bot" or sender.startswith("28:") or sender == bot:
        return None
    mentioned = any(_text(entity, "mentioned", "id") == bot for entity in _mentions(body))
    personal = _text(body, "conversation", "conversationType") == "personal"
    if not personal and not mentioned:
        return None
    return _incoming(body, "message", _needed(body, "id"), _question(body, bot))


def welcome(body: dict[str, Any]) -> Incoming | None:
    """The bot itself was added to a conversation; anybody else's arrival is not for us."""
    bot = _needed(body, "recipient", "id")
    added = body.get("membersAdded")
    if not isinstance(added, list) or all(_text(member, "id") != bot for member in added):
        return None
    return _incoming(body, "welcome", _text(body, "id") or "welcome", "")


def feedback(body: dict[str, Any]) -> Feedback | None:
    """A vote; its free text comes as a JSON string from Teams and as plain text from the Playground."""
    value = body.get("value")
    if _text(value, "actionName") != "feedback":
        return None
    thumb = {"like": 1, "dislike": -1}.get(_text(value, "actionValue", "reaction"))
    if thumb is None:
        return None
    return Feedback(
        conversation=_needed(body, "conversation", "id"),
        message_id=_text(body, "replyToId") or None,
        voter=f"teams:{tenant(body)}:{_person(body)}",
        value=thumb,
        reason=_reason(_text(value, "actionValue", "feedback")),
    )


def tenant(body: dict[str, Any]) -> str:
    return _text(body, "channelData", "tenant", "id") or _text(body, "conversation", "tenantId")


def tenants(body: dict[str, Any]) -> set[str]:
    """Every tenant that the activity names."""
    return {_text(body, "channelData", "tenant", "id"), _text(body, "conversation", "tenantId")} - {""}


def service_url(body: dict[str, Any]) -> str:
    return _text(body, "serviceUrl")


def channel(body: dict[str, Any]) -> str:
    return _text(body, "channelId")


def _incoming(body: dict[str, Any], kind: Literal["message", "welcome"], activity_id: str, text: str) -> Incoming:
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
    )


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


def _reason(text: str) -> str | None:
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = text
    said = _text(decoded, "feedbackText") if isinstance(decoded, dict) else text
    return said.strip()[:MAX_REASON] or None


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
