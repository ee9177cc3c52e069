"""What each reader hands over, and the finishing that is the same for all: clean text, a title, no empty blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block, ParsedDocument

MAX_TITLE = 240  # characters; titles of papers and issues are whole sentences, and each word of one can be asked for

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl"}
_CONTROLS = [*range(9), *range(0x0E, 0x20), *range(0x7F, 0xA0)]
_INVISIBLE = [*_CONTROLS, 0x00AD, 0x200B, 0x2060, 0xFEFF, *range(0xE0000, 0xE0080)]  # the last hide text from eyes
_CLEAN: dict[int, str | None] = {
    **dict.fromkeys(_INVISIBLE, None),
    **_LIGATURES,
    0x00A0: " ",
    0x202F: " ",
    0x0B: "\n",
    0x0C: "\n",
    0x85: "\n",
    0x2028: "\n",
    0x2029: "\n",
}
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Draft:
    """A reader's result. ``stated_title`` wins over the first H1, ``fallback_title`` yields to it."""

    blocks: list[Block]
    stated_title: str = ""
    fallback_title: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def finish(draft: Draft, name: str) -> ParsedDocument:
    blocks = [block for block in map(_cleaned, draft.blocks) if block.text or block.rows]
    if not any(_readable(block) for block in blocks):
        raise DocumentUnreadable("the file holds no readable text")
    first_h1 = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
    candidates = (draft.stated_title, first_h1, draft.fallback_title, humanise(name))
    title = next(text for text in map(one_line, candidates) if text)
    metadata = {key: one_line(value) for key, value in draft.metadata.items() if one_line(value)}
    return ParsedDocument(_shortened(title), tuple(_without_title(blocks, title)), metadata)


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def clean(text: str) -> str:
    """Drops what no reader sees and Postgres refuses: NUL, control characters, lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CLEAN)
    return _SURROGATES.sub("", text)


def humanise(name: str) -> str:
    """``roll-back_app.md`` -> ``Roll back app``."""
    stem = PurePath(name).stem.removesuffix(".html")  # "apps.html.md" is how site generators name pages
    words = " ".join(re.sub(r"[-_\s]+", " ", clean(stem)).split())
    return words[:1].upper() + words[1:] or "Untitled"


def slug(text: str, taken: dict[str, int]) -> str:
    """The anchor GitHub gives a heading; a repeated one gets ``-1``, ``-2``, and so on. Records it in ``taken``."""
    base = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
    anchor, count = base, taken.get(base, 0)
    while anchor in taken:
        count += 1
        anchor = f"{base}-{count}"
    taken[base] = count
    taken.setdefault(anchor, 0)
    return anchor


def _readable(block: Block) -> bool:
    texts = [block.text, *(cell for row in block.rows for cell in row)]
    return any(character.isalnum() for text in texts for character in text)


def _cleaned(block: Block) -> Block:
    if block.kind == "table":
        return replace(block, rows=_cleaned_rows(block.rows))
    if block.kind == "code":
        return replace(block, text=clean(block.text).expandtabs(4).strip("\n").rstrip())
    if block.kind == "heading":
        return replace(block, text=one_line(block.text), anchor=one_line(block.anchor or "") or None)
    lines = (" ".join(line.split()) for line in clean(block.text).split("\n"))
    return replace(block, text="\n".join(line for line in lines if line))


def _cleaned_rows(rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Rows of one width without blank rows or columns that are blank throughout."""
    width = max(map(len, rows), default=0)
    square = [[one_line(cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    square = [row for row in square if any(row)]
    used = [column for column in range(width) if any(row[column] for row in square)]
    return tuple(tuple(row[column] for column in used) for row in square)


def _shortened(title: str) -> str:
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1].rstrip() + "…"


def _without_title(blocks: list[Block], title: str) -> list[Block]:
    """The first H1 is left out where it only says the title again."""
    for position, block in enumerate(blocks):
        if block.kind == "heading" and block.level == 1:
            same = block.text.casefold() == title.casefold()
            rest = blocks[:position] + blocks[position + 1 :]
            return rest if same and len(rest) > 0 else blocks
    return blocks
