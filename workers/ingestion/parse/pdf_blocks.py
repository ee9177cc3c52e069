"""From lines to blocks: running headers dropped, wrapped lines joined, headings by the outline and by their type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from assistant.knowledge.documents import Block
from workers.ingestion.parse.pdf_lines import Line

_BULLET = re.compile(r"^\s*(?:[•‣▪●◦○·∙■□➢–\x7f\uf0b7\uf0a7\uf06e]|[-*](?= )|o(?= [A-Z]))\s*(?=\S)")
_NUMBER = re.compile(r"^\s*(\d{1,2}[.)])\s+(?=\S)")
_ENDED = re.compile(r"[.!?:;。！？][\"'”’)\]]*\s*$")
_TELLING = 16  # letters of a running line: shorter ones are "Draft", "Page 3 of 9", a date
_MIN_HEADING = 1.1  # times the size of the body text


@dataclass(frozen=True, slots=True)
class Entry:
    """A bookmark of the PDF's outline; pages count from 1, levels from 0."""

    title: str
    page: int
    level: int


def assemble(pages: list[list[Line]], outline: list[Entry] | None = None) -> list[Block]:
    body = _body([line for page in pages for line in page])
    pages = _plain_where_all_is_mono(_without_running_lines(pages, body.size))
    leading = _leading(pages, body.size)
    groups = [(number, group) for number, page in enumerate(pages, 1) for group in _groups(page, leading)]
    sizes = sorted({_rank_size(group, body) for _, group in groups if _is_heading(group, body)}, reverse=True)
    blocks = [_block(group, number, body, sizes) for number, group in groups]
    return _with_outline(_with_title(blocks), outline or [])


def _with_outline(blocks: list[Block], outline: list[Entry]) -> list[Block]:
    """Bookmarks name the headings and their depth; other headings then stand below the one that they follow."""
    if not outline:
        return blocks
    base = 1 if sum(entry.level == 0 for entry in outline) == 1 else 2
    wanted: dict[int, list[Entry]] = {}
    for mark in outline:
        wanted.setdefault(mark.page, []).append(mark)
    done: list[Block] = []
    depth = 0
    for block in blocks:
        entry = _named(block, wanted.get(block.page or 0, []))
        if entry is not None:
            depth = min(entry.level + base, 6)
            done.append(Block("heading", block.text, level=depth, page=block.page))
        elif block.kind == "heading" and depth and block.level > 1:
            done.append(replace(block, level=min(depth + 1, 6)))
        else:
            done.append(block)
    return done


def _named(block: Block, entries: list[Entry]) -> Entry | None:
    """The bookmark that names this block, which is then used up."""
    if block.kind not in ("heading", "paragraph", "list_item") or len(block.text) > 200:
        return None
    text = _letters(block.text)
    for entry in entries:
        if text and _letters(entry.title) in (text, text.lstrip("0123456789")):
            entries.remove(entry)
            return entry
    return None


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text).casefold()


def _with_title(blocks: list[Block]) -> list[Block]:
    """A heading among the first blocks, larger than those around it or first of them, is the title: level 1."""
    early = [(block.level, place) for place, block in enumerate(blocks[:8]) if _may_be_title(block)]
    if not early:
        return blocks
    first, largest = early[0], min(early)
    place = first[1] if first[1] < 3 and first[0] - largest[0] < 2 else largest[1]
    return [*blocks[:place], replace(blocks[place], level=1), *blocks[place + 1 :]]


def _may_be_title(block: Block) -> bool:
    return block.kind == "heading" and block.page == 1 and not block.text[:1].isdigit()


def _plain_where_all_is_mono(pages: list[list[Line]]) -> list[list[Line]]:
    """In a document set in a typewriter face throughout, the face does not mean code."""
    lines = [line for page in pages for line in page]
    if sum(line.mono for line in lines) < 0.7 * max(len(lines), 1):
        return pages
    return [[replace(line, mono=False) for line in page] for page in pages]


def _without_running_lines(pages: list[list[Line]], size: float) -> list[list[Line]]:
    """A first or last line that most pages share, numbers apart, is a header or footer, unless it is set large."""
    if len(pages) < 3:
        return pages
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_shape(line) for line in _edges(page) if line.size <= size})
    running = {shape for shape, count in seen.items() if count >= 3 and count > 0.5 * len(pages)}
    told: set[str] = set()
    return [_trimmed(page, running, size, told) or page for page in pages]  # a page may say nothing else


def _edges(page: list[Line]) -> list[Line]:
    ordered = sorted((line for line in page if line.upright and not line.rows), key=lambda line: -line.y)
    most = 2 if len(ordered) > 7 else 1  # of a page of a few lines, two and two are all that it says
    return ordered[:most] + ordered[-most:]


def _trimmed(page: list[Line], running: set[str], size: float, told: set[str]) -> list[Line]:
    """Without running lines, but for the first time that one is ``told`` which says more than where the page is."""
    edges: set[int] = set()
    for line in _edges(page):
        shape = _shape(line)
        if line.size <= size and shape in running:
            if shape in told or sum(map(str.isalpha, shape)) < _TELLING:
                edges.add(id(line))
            told.add(shape)
    return [line for line in page if id(line) not in edges]


def _shape(line: Line) -> str:
    return re.sub(r"\d+", "#", " ".join(line.text.split()))


def _body(lines: list[Line]) -> Line:
    """A line that stands for the running text: the commonest size and weight, by characters."""
    weight: Counter[tuple[float, bool]] = Counter({(10.0, False): 0})
    for line in lines:
        weight[line.size, line.bold] += len(line.text)
    (size, bold), _ = weight.most_common(1)[0]
    return Line("", 0, 0, size, bold)


def _leading(pages: list[list[Line]], size: float) -> float:
    """The commonest distance between two lines, never below the size of the type."""
    pairs = ((above, below) for page in pages for above, below in pairwise(page) if not (above.rows or below.rows))
    drops = (above.y - below.y for above, below in pairs)
    gaps = Counter(round(drop) for drop in drops if 0 < drop < 4 * size)
    return max(gaps.most_common(1)[0][0] if gaps else 0.0, size)


def _groups(page: list[Line], leading: float) -> Iterator[list[Line]]:
    group: list[Line] = []
    for line in page:
        if group and _breaks(group, line, leading):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _breaks(group: list[Line], line: Line, leading: float) -> bool:
    last, gap = group[-1], group[-1].y - line.y
    if line.rows or last.rows or line.upright != last.upright:
        return True
    if (line.mono, line.bold) != (last.mono, last.bold) or abs(line.size - last.size) > 0.6:
        return True
    if _BULLET.match(line.text) or _NUMBER.match(line.text):
        return not line.mono
    if gap < -0.5 * leading:  # the next column: a sentence may go on there
        return bool(_ENDED.search(last.text))
    indented = line.x > last.x + 0.8 * line.size and line.x > group[0].x + 0.8 * line.size
    if gap > 1.35 * max(leading, 1.15 * line.size):
        return True
    return indented and not line.mono and bool(_ENDED.search(last.text))


def _is_heading(group: list[Line], body: Line) -> bool:
    text = _joined(group)
    if not group[0].upright or group[0].rows:
        return False
    if len(text) > 160 or len(group) > 3 or not any(map(str.isalpha, text)) or group[0].mono:
        return False
    if group[0].size >= _MIN_HEADING * body.size:
        return True
    emphatic = group[0].bold and not body.bold and group[0].size >= body.size
    return emphatic and len(group) == 1 and len(text) <= 80 and not _ENDED.search(text) and not _BULLET.match(text)


def _rank_size(group: list[Line], body: Line) -> float:
    return max(group[0].size, body.size)


def _block(group: list[Line], page: int, body: Line, sizes: list[float]) -> Block:
    if group[0].rows:
        return Block("table", rows=group[0].rows, page=page)
    if group[0].mono and len(group) > 1:
        return Block("code", _indented(group), page=page)
    text = _joined(group)
    if _is_heading(group, body):
        return Block("heading", text, level=min(sizes.index(_rank_size(group, body)) + 2, 6), page=page)
    if _BULLET.match(text):
        return Block("list_item", _BULLET.sub("", text), page=page)
    return Block("list_item" if _NUMBER.match(text) else "paragraph", text, page=page)


def _indented(group: list[Line]) -> str:
    """Code with the indentation that its place on the page shows; a typewriter's letter is 0.6 wide."""
    left = min(line.x for line in group)
    width = 0.6 * group[0].size
    return "\n".join(" " * max(round((line.x - left) / width), 0) + line.text for line in group)


def _joined(group: list[Line]) -> str:
    """Wrapped lines as one; a word cut by a hyphen at the line's end is put together."""
    text = ""
    for line in group:
        part = line.text.strip()
        if re.search(r"[^\W\d_]-$", text) and part[:1].islower():
            text = text[:-1] + part
        else:
            text = f"{text} {part}" if text else part
    return text
