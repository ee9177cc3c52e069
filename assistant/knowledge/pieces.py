"""From blocks to pieces: the smallest parts of a document that a chunk may hold, and how a chunk shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice, pairwise
from typing import Literal

from assistant.knowledge.documents import Block
from assistant.knowledge.sentences import record, sentence_spans

CountTokens = Callable[[list[str]], list[int]]
PieceKind = Literal["heading", "paragraph", "list_item", "code", "table"]

FENCE_COST = 6  # tokens of the two fences
_CHARACTERS_PER_TOKEN = 8  # a blob without blanks is one unknown token to the tokenizer, but not to a reader
_WORDS = re.compile(r"\S+")
_NUMBERED = re.compile(r"\d{1,9}[.)](?: |$)")


@dataclass(frozen=True, slots=True)
class Piece:
    """``text`` as shown, less what its block shares: the fences of code, the header of a table."""

    block: int  # pieces of one block are shown as one
    kind: PieceKind
    text: str
    cost: int = 0  # tokens
    header: str = ""  # table: the header row and the rule beneath it
    header_cost: int = 0
    names: tuple[str, ...] = ()  # table: the cells of the header and of this row
    cells: tuple[str, ...] = ()
    leads: bool = False  # belongs with the piece after it
    page: int | None = None


def pieces_of(blocks: Sequence[Block], first: int = 0) -> list[Piece]:
    """Pieces without their costs. ``first`` numbers the first block."""
    found = [list(_pieces(block, first + offset)) for offset, block in enumerate(blocks)]
    for position, (block, following) in enumerate(pairwise(blocks)):
        if found[position] and _introduces(block, following):
            found[position][-1] = replace(found[position][-1], leads=True)
    return [piece for pieces in found for piece in pieces]


def heading_piece(text: str, block: int, page: int | None) -> Piece:
    return Piece(block, "heading", text, leads=True, page=page)


def _introduces(block: Block, following: Block) -> bool:
    if block.kind == "paragraph":
        return following.kind in ("list_item", "code", "table") or block.text.endswith(":")
    if block.kind != "list_item":
        return False
    return following.kind == "code" or (following.kind == "list_item" and following.level > block.level)


def _pieces(block: Block, number: int) -> Iterator[Piece]:
    if block.kind == "table":
        yield from _table(block, number)
    elif block.kind == "list_item":
        mark = "" if _NUMBERED.match(block.text) else "- "
        text = "  " * block.level + mark + block.text.replace("\n", " ")
        yield Piece(number, "list_item", text, page=block.page)
    elif block.kind == "code":
        yield Piece(number, "code", block.text.replace("```", "'''"), page=block.page)
    elif block.text:
        yield Piece(number, "paragraph", block.text, page=block.page)


def _table(block: Block, number: int) -> Iterator[Piece]:
    if not block.rows:
        return
    header = f"{_row(block.rows[0])}\n|{'---|' * len(block.rows[0])}"
    names = block.rows[0]
    for row in block.rows[1:] or ((),):
        text = _row(row) if row else ""
        yield Piece(number, "table", text, header=header, names=names, cells=row, page=block.page)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def costed(pieces: Sequence[Piece], count_tokens: CountTokens) -> list[Piece]:
    """The pieces with their costs, in one call of the tokenizer."""
    if not pieces:
        return []
    headers = list(dict.fromkeys(piece.header for piece in pieces if piece.header))
    empty, *counts = count_tokens(["", *headers, *(piece.text for piece in pieces)])
    sizes = {header: count - empty for header, count in zip(headers, counts, strict=False)}
    return [
        replace(piece, cost=_cost(piece.text, count - empty), header_cost=sizes.get(piece.header, 0))
        for piece, count in zip(pieces, counts[len(headers) :], strict=True)
    ]


def _cost(text: str, tokens: int) -> int:
    return max(tokens, len(text) // _CHARACTERS_PER_TOKEN)


def total_cost(pieces: Iterable[Piece]) -> int:
    """What a chunk of these pieces costs: each block adds its fences or header once."""
    total, block = 0, -1
    for piece in pieces:
        total += added_cost(piece, block)
        block = piece.block
    return total


def added_cost(piece: Piece, last_block: int) -> int:
    """What the piece adds to a chunk whose last piece is of ``last_block``."""
    if piece.block == last_block:
        return piece.cost
    return piece.cost + piece.header_cost + (FENCE_COST if piece.kind == "code" else 0)


def fitted(pieces: Sequence[Piece], budgets: Mapping[int, int], count_tokens: CountTokens) -> list[Piece]:
    """Costed pieces, none over the budget of its block. Too long a table row becomes words; text is cut at
    sentences (code at lines), then between words, then anywhere."""
    done = costed(pieces, count_tokens)
    over = {piece.block for piece in done if _is_over(piece, budgets) and piece.kind == "table"}
    if over:  # the whole table, so that it reads alike throughout
        done = _recut(done, lambda piece: piece.block in over, lambda piece: [_as_record(piece)], count_tokens)
    for cut in (_by_sentence, _by_word, _by_character):
        if not any(_is_over(piece, budgets) for piece in done):
            return done
        cutter = partial(_cut_to_budget, cut, budgets)
        done = _recut(done, partial(_is_over, budgets=budgets), cutter, count_tokens)
    return done


def _is_over(piece: Piece, budgets: Mapping[int, int]) -> bool:
    return added_cost(piece, -1) > budgets[piece.block]


def _cut_to_budget(
    cut: Callable[[Piece, int], Iterable[Piece]], budgets: Mapping[int, int], piece: Piece
) -> Iterable[Piece]:
    return cut(piece, budgets[piece.block])


def _recut(
    pieces: Sequence[Piece],
    chosen: Callable[[Piece], bool],
    cut: Callable[[Piece], Iterable[Piece]],
    count_tokens: CountTokens,
) -> list[Piece]:
    parts = [(piece, list(cut(piece)) if chosen(piece) else None) for piece in pieces]
    fresh = iter(costed([part for _, group in parts if group for part in group], count_tokens))
    done: list[Piece] = []
    for piece, group in parts:
        done.extend([piece] if group is None else islice(fresh, len(group)))
    return done


def _as_record(piece: Piece) -> Piece:
    text = record(piece.names, piece.cells) if piece.cells else "; ".join(piece.names)
    return replace(piece, kind="paragraph", text=text + "\n", header="", header_cost=0)


def _by_sentence(piece: Piece, budget: int) -> Iterator[Piece]:
    if piece.kind == "code":
        spans = [match.span() for match in re.finditer(r"[^\n]*\n|[^\n]+$", piece.text)]
    else:
        starts = [start for start, _ in sentence_spans(piece.text)]
        bounds = [0, *starts[1:], len(piece.text)]
        spans = list(pairwise(bounds))
    yield from _sliced(piece, spans)


def _by_word(piece: Piece, budget: int) -> Iterator[Piece]:
    """Runs of words so short that they fit: a word is not cut unless it is too long by itself."""
    bounds = [0]
    for match in _WORDS.finditer(piece.text):
        if match.end() - bounds[-1] > budget // 2 and match.start() > bounds[-1]:
            bounds.append(match.start())
    yield from _sliced(piece, pairwise([*bounds, len(piece.text)]))


def _by_character(piece: Piece, budget: int) -> Iterator[Piece]:
    """A character is at most one token, give or take; so many characters fit."""
    size = max(budget - FENCE_COST, 1)
    yield from _sliced(piece, [(start, start + size) for start in range(0, len(piece.text), size)])


def _sliced(piece: Piece, spans: Iterable[tuple[int, int]]) -> Iterator[Piece]:
    parts = [replace(piece, text=piece.text[start:end], leads=False, header="") for start, end in spans]
    if parts:
        parts[-1] = replace(parts[-1], leads=piece.leads)
    yield from parts


def render(pieces: Sequence[Piece]) -> str:
    """Light Markdown: blank lines between blocks, none between the items of a list."""
    shown: list[str] = []
    last: PieceKind | None = None
    for (_, kind), group in groupby(pieces, key=lambda piece: (piece.block, piece.kind)):
        text = _shown(list(group))
        if not text:
            continue
        tight = last == "list_item" and kind in ("list_item", "code")
        shown += ["" if not shown else "\n" if tight else "\n\n", text]
        last = kind
    return "".join(shown)


def _shown(group: Sequence[Piece]) -> str:
    first = group[0]
    if first.kind == "code":
        return f"```\n{''.join(piece.text for piece in group).strip(chr(10))}\n```"
    if first.kind == "table":
        return "\n".join([first.header, *(piece.text for piece in group if piece.text)])
    text = "".join(piece.text for piece in group).rstrip()
    return text if first.kind == "list_item" else text.strip()
