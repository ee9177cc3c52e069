"""What the front end needs of the Bot Connector, and how it fails. No SDK types: only ``adapter.py`` knows the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

StreamKind = Literal["informative", "streaming", "final"]


class Refused(Exception):
    """The platform answered with an error; ``retry_after`` is what it asked for, in seconds.

    ``reason`` is the error's own text: Teams tells apart by it why a stream may not go on.
    """

    def __init__(self, status: int, code: str = "", retry_after: float | None = None, reason: str = "") -> None:
        super().__init__(f"Teams answered {status} {code}".strip())
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.reason = reason


class Unreachable(Exception):
    """No answer came: whether the call had an effect is unknown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message goes: what a proactive call needs to know of a conversation.

    ``only`` names the one member of a group who is to see it (a targeted message).
    """

    service_url: str
    conversation: str
    bot_id: str
    user_id: str
    tenant: str = ""
    personal: bool = False
    only: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """Markdown text with what Teams shows around it, or a card.

    Teams makes two messages of a text with a card, and updates neither: ``text`` is what stands for the ``card`` in
    notifications and where it cannot be shown. ``suggestions`` are typed for the person who presses one.
    """

    text: str
    entities: tuple[Mapping[str, Any], ...] = ()
    channel_data: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """One step of a stream. The first has no ``stream_id`` (Teams gives it), the final one no ``sequence``."""

    kind: StreamKind
    sequence: int | None = None
    stream_id: str | None = None

    def entity(self) -> dict[str, Any]:
        given = {"streamId": self.stream_id, "streamType": self.kind, "streamSequence": self.sequence}
        return {"type": "streaminfo", **{name: value for name, value in given.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a conversation; ``id`` is what a mention needs."""

    id: str
    name: str


class Connector(Protocol):
    """Each call has a deadline and raises ``Refused`` or ``Unreachable``."""

    async def send(self, place: Place, message: Message, reply_to: str | None) -> str:
        """Post a message; its activity id."""
        ...

    async def update(self, place: Place, activity_id: str, message: Message) -> None: ...

    async def delete(self, place: Place, activity_id: str) -> None: ...

    async def typing(self, place: Place) -> None: ...

    async def stream(self, place: Place, message: Message, chunk: Chunk) -> str:
        """Send one step of a stream; the id of the stream, where this step began it."""
        ...

    async def open_chat(self, place: Place) -> str:
        """The personal chat with ``place.user_id``: its conversation id. The same one however often it is asked for."""
        ...

    async def member(self, place: Place, who: str) -> Member:
        """A member by Teams id, directory id or e-mail address."""
        ...
