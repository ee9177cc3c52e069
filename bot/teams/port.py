"""What the front end needs of the Bot Connector, and how it fails. No SDK types: only ``adapter.py`` knows the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Refused(Exception):
    """The platform answered with an error; ``retry_after`` is what it asked for, in seconds."""

    def __init__(self, status: int, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"Teams answered {status} {code}".strip())
        self.status = status
        self.retry_after = retry_after


class Unreachable(Exception):
    """No answer came: whether the call had an effect is unknown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message goes: what a proactive call needs to know of a conversation."""

    service_url: str
    conversation: str
    bot_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Message:
    """Markdown text with what Teams shows around it."""

    text: str
    entities: tuple[Mapping[str, Any], ...] = ()
    channel_data: Mapping[str, Any] = field(default_factory=dict)


class Connector(Protocol):
    """Both calls have a deadline and raise ``Refused`` or ``Unreachable``."""

    async def send(self, place: Place, message: Message, reply_to: str | None) -> str:
        """Post a message; its activity id."""
        ...

    async def update(self, place: Place, activity_id: str, message: Message) -> None: ...
