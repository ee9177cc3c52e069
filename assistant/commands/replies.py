"""What goes into a command and what comes out of it: frozen data, the same for every front end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from assistant.database.approvals import Approval
from assistant.errors import AlmanacError
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit
from assistant.tools.forms import Field


class Refused(AlmanacError):
    """The command cannot be done as it was given; the sentence says why, in the caller's language."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a command. ``audience`` is what the caller may read; ``place`` the conversation's principal.

    ``place`` is such as ``channel:slack:T1:C1``, or the caller's own (``user:slack:T1:U1``) in a direct message:
    what is shared there, its readers may read.
    """

    person: str
    platform: str
    audience: Audience
    admin: bool
    language: str
    place: str
    place_name: str = ""
    name: str = ""  # how people call the caller
    event: uuid.UUID | None = None  # the stored event that the command came by: what is proposed for it, is once

    @property
    def alone(self) -> bool:
        """Whether nobody else reads the reply."""
        return self.place.startswith("user:")


@dataclass(frozen=True, slots=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """Nothing has been done yet: ``command``, run again and confirmed, does it."""

    sentence: str
    button: str
    command: str


@dataclass(frozen=True, slots=True)
class Form:
    """What a tool needs to be called: ``given`` by field as typed so far, ``wrong`` what to say beside a field."""

    tool: str
    title: str
    waits: bool  # what comes of it waits for approval
    fields: tuple[Field, ...]
    given: Mapping[str, str]
    wrong: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """``text`` is Markdown; ``run_id`` is long work that has begun.

    ``ask`` is a question to be answered to the caller alone; ``settings`` and ``upload`` ask the front end for the
    channel's settings and for its way to choose a file. ``form`` asks for a tool's arguments; ``approval`` is a call
    that waits, to be shown as a card: a ``copy`` of it for the caller alone, or where everybody finds it.
    """

    text: str = ""
    table: Table | None = None
    hits: tuple[Hit, ...] = ()
    ask: str | None = None
    settings: bool = False
    upload: bool = False
    confirm: Confirm | None = None
    run_id: uuid.UUID | None = None
    failed: bool = False
    form: Form | None = None
    approval: Approval | None = None
    copy: bool = False


@dataclass(frozen=True, slots=True)
class RunState:
    """How long work stands. ``text`` is one line about it; ``failed`` counts files, ``state`` is the run's."""

    state: str
    done: int
    total: int
    failed: int
    text: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    usage: str
    summary: str
    admin: bool


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that somebody shared. ``external_id`` is its stable id on the platform."""

    name: str
    content: bytes
    external_id: str
    url: str | None = None
