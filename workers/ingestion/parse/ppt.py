"""Old PowerPoint presentations (.ppt): the text of each slide, by the records that [MS-PPT] describes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.ole import opened

_DOCUMENT, _SLIDE, _NOTES, _OF_SLIDE, _LIST, _NEXT_SLIDE = 1000, 1006, 1008, 1009, 4080, 1011
_HEADER, _WIDE, _NARROW = 3999, 4000, 4008
_TITLES = (0, 6)
_MAX_DEPTH = 40


@dataclass(slots=True)
class _Slide:
    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    id: int = 0


def read(content: bytes, name: str) -> Draft:
    with opened(content) as container:
        if container.stream("EncryptedSummary"):
            raise DocumentUnreadable("the file is protected by a password")
        data = container.stream("PowerPoint Document")
        title, metadata = container.title()
    if not data:
        raise DocumentUnreadable("the file is an old binary Office file but not a presentation")
    slides: list[_Slide] = []
    drawn: list[_Slide] = []
    notes: dict[int, list[str]] = {}  # slide's id -> what its speaker says; of several, the last is in force
    for kind, _, body in _records(data):
        if kind == _DOCUMENT:
            slides = _outline(body) or slides
        elif kind == _SLIDE:
            drawn.append(_Slide(texts=[text for _, text in _texts(body, 0)]))
        elif kind == _NOTES:
            notes[_slide_of(body)] = [text for _, text in _texts(body, 0)]
    for place, extra in enumerate(drawn):
        if place < len(slides):
            known = {*slides[place].titles, *slides[place].texts}
            slides[place].texts += [text for text in extra.texts if text not in known]
        else:
            slides.append(extra)
    for slide in slides:
        slide.notes = notes.get(slide.id, []) if slide.id else []
    shown = [block for number, slide in enumerate(slides, 1) for block in _blocks(slide, number)]
    return Draft(shown, "", "" if title.lower() == "powerpoint presentation" else title, metadata)


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(kind, instance, body) of each record at this level; one that runs past the end is cut."""
    at = 0
    while at + 8 <= len(data):
        version, kind, length = struct.unpack_from("<HHI", data, at)
        yield kind, version >> 4, data[at + 8 : at + 8 + length]
        at += 8 + length


def _outline(document: bytes) -> list[_Slide]:
    slides: list[_Slide] = []
    for kind, instance, body in _records(document):
        if kind != _LIST or instance != 0:  # the other lists are those of masters and notes
            continue
        role = 1
        for inner, _, data in _records(body):
            if inner == _NEXT_SLIDE:
                slides.append(_Slide(id=struct.unpack_from("<I", data, 12)[0] if len(data) >= 16 else 0))
            elif inner == _HEADER and len(data) >= 4:
                role = struct.unpack_from("<I", data)[0]
            elif inner in (_WIDE, _NARROW) and slides:
                (slides[-1].titles if role in _TITLES else slides[-1].texts).append(_decoded(inner, data))
    return slides


def _slide_of(notes: bytes) -> int:
    """The id of the slide that they belong to."""
    atoms = (data for kind, _, data in _records(notes) if kind == _OF_SLIDE and len(data) >= 4)
    return next((int(struct.unpack_from("<I", data)[0]) for data in atoms), 0)


def _texts(data: bytes, depth: int) -> Iterator[tuple[int, str]]:
    at = 0
    while at + 8 <= len(data) and depth < _MAX_DEPTH:
        version, kind, length = struct.unpack_from("<HHI", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind in (_WIDE, _NARROW):
            yield kind, _decoded(kind, body)
        elif version & 0xF == 0xF:
            yield from _texts(body, depth + 1)
        at += 8 + length


def _decoded(kind: int, data: bytes) -> str:
    return data.decode("utf-16-le", "replace") if kind == _WIDE else data.decode("latin-1")


def _blocks(slide: _Slide, number: int) -> Iterator[Block]:
    title = " ".join(" ".join(slide.titles).split())
    yield Block("heading", title or f"Slide {number}", level=2, page=number)
    yield from _lines(slide.texts, number)
    notes = list(_lines(slide.notes, number))
    if notes:
        yield Block("heading", "Notes", level=3, page=number)
        yield from notes


def _lines(texts: list[str], number: int) -> Iterator[Block]:
    for text in texts:
        lines = [line.replace("\x0b", " ").strip() for line in text.split("\r")]
        lines = [line for line in lines if line and line != "*"]
        kind = "list_item" if len(lines) > 1 else "paragraph"
        for line in lines:
            yield Block(kind, line, page=number)  # type: ignore[arg-type]
