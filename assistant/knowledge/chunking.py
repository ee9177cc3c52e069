"""Cuts a parsed document into passages along its structure: sections first, then blocks, then sentences.

A chunk belongs to one section. Small neighbours of one parent share a chunk, their headings kept as lines of text.
What is embedded of a chunk repeats the end of the one before it (``overlap``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from assistant.knowledge.documents import Block, Chunk, ParsedDocument
from assistant.knowledge.overlap import MARGIN, overlapped
from assistant.knowledge.pieces import (
    CountTokens,
    Piece,
    added_cost,
    fitted,
    heading_piece,
    pieces_of,
    render,
    total_cost,
)

MIN_TOKENS = 60  # a section below this says too little by itself
MIN_TAIL = 100  # the last chunk of a section that is cut takes pieces from the one before, up to this
_MIN_BUDGET = 24  # for text, however long its title and headings are
_MAX_HEADING = 100  # characters; longer ones are sentences that a parser took for headings
_MAX_PATH = 4
_ROUNDS = 8

Path = tuple[str, ...]
_Part = tuple[int, int, list[tuple[int, Block]]]  # first place, place after the last, the headings above with theirs


@dataclass(frozen=True, slots=True)
class _Section:
    path: Path
    anchor: str | None
    heading: Piece | None
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class _Group:
    """Sections that are cut together. ``base`` is the path of their chunks."""

    sections: list[_Section]
    base: Path
    cost: int

    def pieces(self, budgets: _Budgets) -> list[Piece]:
        shown: list[Piece] = []
        named = {self.base}
        for section in self.sections:
            if section.heading and section.path not in named:
                shown.append(_heading_line(section, named, self.base, budgets))
                named.add(section.path)
            shown.extend(section.pieces)
        return shown


def _heading_line(section: _Section, named: set[Path], base: Path, budgets: _Budgets) -> Piece:
    """The section's heading, with those above it that neither the path nor an earlier line has named."""
    assert section.heading is not None
    if section.path[:-1] in named:
        return section.heading
    cost = budgets.of(base) - budgets.of(section.path)
    return replace(section.heading, text=" > ".join(section.path[len(base) :]), cost=cost)


@dataclass(slots=True)
class _Draft:
    pieces: list[Piece]
    path: Path
    anchor: str | None
    budget: int


@dataclass(slots=True)
class _Budgets:
    """How many tokens of text fit beneath each heading path."""

    title: str
    max_tokens: int
    known: dict[Path, int] = field(default_factory=dict)

    def learn(self, paths: Iterable[Path], count_tokens: CountTokens) -> None:
        """Every part of every path: ``fitting`` takes headings off one end, and merging off the other."""
        parts = (
            path[start:end] for path in paths for start in range(len(path) + 1) for end in range(start, len(path) + 1)
        )
        wanted = list(dict.fromkeys(parts))
        costs = count_tokens([_context(self.title, path) for path in wanted])
        self.known = {path: max(self.max_tokens - cost, _MIN_BUDGET) for path, cost in zip(wanted, costs, strict=True)}

    def of(self, path: Path) -> int:
        return self.known[path]

    def fitting(self, path: Path) -> Path:
        """The innermost headings that leave half of a chunk to its text."""
        starts = range(len(path) + 1)
        return next((path[start:] for start in starts if self.known[path[start:]] >= self.max_tokens // 2), ())


def chunk(document: ParsedDocument, count_tokens: CountTokens, max_tokens: int = 256) -> list[Chunk]:
    """Passages in reading order; what is embedded of each stays within ``max_tokens``.

    ``count_tokens`` is called a few times for a whole document, with all texts at once. Only a title that nearly
    fills the budget by itself can make a chunk exceed it.
    """
    budgets = _Budgets(document.title, max_tokens)
    parts = list(_parts(document.blocks))
    budgets.learn((_path(headings) for _, _, headings in parts), count_tokens)
    sections = _sections(document.blocks, parts, budgets)
    sections = _with_costs(sections, budgets, count_tokens)
    groups = _merged([_Group([section], section.path, total_cost(section.pieces)) for section in sections], budgets)
    drafts = [draft for group in groups for draft in _packed(group, budgets)]
    drafts = _within(drafts, document.title, max_tokens, count_tokens)
    chunks = [
        Chunk(ordinal, render(draft.pieces), draft.path, draft.anchor, draft.pieces[0].page)
        for ordinal, draft in enumerate(drafts)
    ]
    rooms = [draft.budget - total_cost(draft.pieces) for draft in drafts]
    return overlapped(chunks, rooms, document.title, count_tokens, max_tokens)


def _context(title: str, path: Path) -> str:
    return Chunk(0, "", path).context(title)


def _parts(blocks: Sequence[Block]) -> Iterator[_Part]:
    """One part per heading, and one for what stands before the first."""
    starts = [place for place, block in enumerate(blocks) if block.kind == "heading"]
    bounds = [*starts, len(blocks)]
    if bounds[0]:
        yield 0, bounds[0], []
    above: list[int] = []
    for start, end in zip(starts, bounds[1:], strict=False):
        above = [*(place for place in above if blocks[place].level < blocks[start].level), start]
        yield start, end, [(place, blocks[place]) for place in above]


def _sections(blocks: Sequence[Block], parts: Sequence[_Part], budgets: _Budgets) -> list[_Section]:
    """A section per part. A heading that no chunk would show otherwise becomes text of its own section."""
    paths = [budgets.fitting(_path(headings)) for _, _, headings in parts]
    seen = {
        place
        for (start, end, headings), path in zip(parts, paths, strict=True)
        if end - start > 1
        for place, heading in _shown(headings)[len(_shown(headings)) - len(path) :]
        if len(heading.text) <= _MAX_HEADING
    }
    found = []
    for (start, end, headings), path in zip(parts, paths, strict=True):
        if not headings:
            found.append(_Section((), None, None, pieces_of(blocks[start:end], start)))
            continue
        heading = blocks[start]
        pieces = pieces_of(blocks[start + 1 : end], start + 1)
        if start not in seen:
            pieces = [Piece(start, "paragraph", heading.text, page=heading.page), *pieces]
        anchor = next((above.anchor for _, above in reversed(headings) if above.anchor), None)
        found.append(_Section(path, anchor, heading_piece(_label(heading), start, heading.page), pieces))
    return found


def _path(headings: list[tuple[int, Block]]) -> Path:
    return tuple(_label(heading) for _, heading in _shown(headings))


def _shown(headings: list[tuple[int, Block]]) -> list[tuple[int, Block]]:
    """At most four: the outermost, which says what the part is about (a file in an archive, a class), and the last."""
    return headings if len(headings) <= _MAX_PATH else [headings[0], *headings[1 - _MAX_PATH :]]


def _label(heading: Block) -> str:
    text = heading.text
    return text if len(text) <= _MAX_HEADING else text[: _MAX_HEADING - 1].rstrip() + "…"


def _with_costs(sections: list[_Section], budgets: _Budgets, count_tokens: CountTokens) -> list[_Section]:
    """The sections that hold something, with the cost of every piece and none that is too long."""
    limits: dict[int, int] = {}
    everything: list[Piece] = []
    for section in sections:
        for piece in [section.heading, *section.pieces] if section.heading else section.pieces:
            limits[piece.block] = budgets.of(section.path)
            everything.append(piece)
    by_place = _by_section(fitted(everything, limits, count_tokens), sections)
    done = []
    for section, pieces in zip(sections, by_place, strict=True):
        headings = [piece for piece in pieces if piece.kind == "heading"]
        body = [piece for piece in pieces if piece.kind != "heading"]
        if body:
            done.append(_Section(section.path, section.anchor, headings[0] if headings else None, body))
    return done


def _by_section(pieces: Sequence[Piece], sections: Sequence[_Section]) -> list[list[Piece]]:
    starts = {section.heading.block: place for place, section in enumerate(sections) if section.heading}
    found: list[list[Piece]] = [[] for _ in sections]
    place = 0
    for piece in pieces:
        place = starts.get(piece.block, place)
        found[place].append(piece)
    return found


def _merged(groups: list[_Group], budgets: _Budgets) -> list[_Group]:
    """Small groups join the next one that fits, or else the one before."""
    forward: list[_Group] = []
    for group in groups:
        joined = _join(forward[-1], group, budgets) if forward and forward[-1].cost < MIN_TOKENS else None
        forward[-1:] = [joined] if joined else [*forward[-1:], group]
    done: list[_Group] = []
    for group in forward:
        joined = _join(done[-1], group, budgets) if done and group.cost < MIN_TOKENS else None
        done[-1:] = [joined] if joined else [*done[-1:], group]
    return done


def _join(first: _Group, second: _Group, budgets: _Budgets) -> _Group | None:
    base = _common_base(first.base, second.base)
    if base is None or first.cost + second.cost > budgets.of(base):
        return None
    joined = _Group([*first.sections, *second.sections], base, 0)
    cost = total_cost(joined.pieces(budgets))
    return _Group(joined.sections, base, cost) if cost <= budgets.of(base) else None


def _common_base(first: Path, second: Path) -> Path | None:
    """Their parent where they are siblings, the outer one where one lies within the other, else none."""
    if second[: len(first)] == first:
        return first
    if first[: len(second)] == second:
        return second
    return first[:-1] if first[:-1] == second[:-1] else None


def _packed(group: _Group, budgets: _Budgets) -> list[_Draft]:
    anchor, budget = group.sections[0].anchor, budgets.of(group.base)
    return [_Draft(pieces, group.base, anchor, budget) for pieces in pack(group.pieces(budgets), budget)]


def pack(pieces: Sequence[Piece], budget: int) -> list[list[Piece]]:
    """Costed pieces in order, as many to a chunk as fit; what leads to a piece moves along with it."""
    done: list[list[Piece]] = []
    current: list[Piece] = []
    cost = 0
    for piece in pieces:
        added = added_cost(piece, current[-1].block if current else -1)
        if current and cost + added > budget:
            carried = _carried(current, piece, budget)
            done.append(current[: len(current) - len(carried)])
            current = [*carried, piece]
            cost = total_cost(current)
        else:
            current.append(piece)
            cost += added
    if current:
        done.append(current)
    return _with_fuller_tail(done, budget)


def _carried(current: list[Piece], piece: Piece, budget: int) -> list[Piece]:
    """The pieces at the end of ``current`` that introduce ``piece`` and fit beside it; never all of them."""
    start = len(current)
    while start > 1 and current[start - 1].leads and total_cost([*current[start - 1 :], piece]) <= budget:
        start -= 1
    return current[start:]


def _with_fuller_tail(chunks: list[list[Piece]], budget: int) -> list[list[Piece]]:
    """A last chunk that is small takes pieces from the one before."""
    wanted = min(MIN_TAIL, budget // 2)
    if len(chunks) < 2 or total_cost(chunks[-1]) >= wanted:
        return chunks
    before, tail = list(chunks[-2]), list(chunks[-1])
    while len(before) > 1 and (total_cost(tail) < wanted or before[-1].leads):
        tail.insert(0, before.pop())
    enough = total_cost(before) >= min(wanted, MIN_TOKENS) and total_cost(tail) <= budget
    return [*chunks[:-2], before, tail] if enough else chunks


def _within(drafts: list[_Draft], title: str, max_tokens: int, count_tokens: CountTokens) -> list[_Draft]:
    """Counts the finished chunks, since the parts are an estimate, and cuts those over the limit again.

    At first those that are nearly full and the fullest, and all where the estimate is off by more than ``MARGIN``.
    """
    rooms = [draft.budget - total_cost(draft.pieces) for draft in drafts]
    fullest = min(rooms, default=0)
    pending = [place for place, room in enumerate(rooms) if room < MARGIN or room == fullest]
    for turn in range(_ROUNDS):
        texts = [f"{_context(title, drafts[place].path)}\n{render(drafts[place].pieces)}" for place in pending]
        counts = dict(zip(pending, count_tokens(texts) if texts else [], strict=True))
        if turn == 0 and any(count > max_tokens - rooms[place] + MARGIN for place, count in counts.items()):
            pending = list(range(len(drafts)))
            continue
        over = {place: count for place, count in counts.items() if count > max_tokens}
        if not over:
            return drafts
        drafts, pending = _cut_again(drafts, over, max_tokens, count_tokens)
    return drafts


def _cut_again(
    drafts: list[_Draft], over: dict[int, int], max_tokens: int, count_tokens: CountTokens
) -> tuple[list[_Draft], list[int]]:
    done: list[_Draft] = []
    fresh: list[int] = []
    for place, draft in enumerate(drafts):
        if place not in over:
            done.append(draft)
            continue
        budget = max(min(draft.budget * 4 // 5, draft.budget - (over[place] - max_tokens)), 1)
        limits = {piece.block: budget for piece in draft.pieces}
        parts = pack(fitted(draft.pieces, limits, count_tokens), budget)
        fresh.extend(range(len(done), len(done) + len(parts)))
        done.extend(_Draft(part, draft.path, draft.anchor, budget) for part in parts)
    return done, fresh
