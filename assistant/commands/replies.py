"""What goes into a command and what comes out of it: frozen data, the same for every front end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from assistant.errors import AlmanacError
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit


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
class Reply:
    """``text`` is Markdown; ``run_id`` is long work that has begun.

    ``ask`` is a question to be answered to the caller alone; ``settings`` and ``upload`` ask the front end for the
    channel's settings and for its way to choose a file.
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
