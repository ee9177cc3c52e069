"""146 real files of other people's parsers' test suites, through the real process pool; what to expect of each is in
``manifest.jsonl``. Where ours differs from the letter of it, the reason stands here."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import ParsedDocument
from workers.ingestion.parse import ParserPool

from .builders import shared

# What is not read, and what is said of it. Every other file has to be read.
REASONS = {
    "empty": r"empty|no readable text",
    "password": r"protected by a password|is encrypted",
    "reject": r"not supported",
    "corrupt": r"cut off|damaged",
}
UNREAD = {
    "pj_issue15893_reduced.pdf": r"protected by a password",  # password_or_partial
    "pj_bug1606566.pdf": r"damaged",  # corrupt_or_partial: PDFium finds no document behind the junk
    "pj_bug1250079.pdf": r"cut off",  # corrupt_or_partial
}
SCANS = "ocr_or_empty"
NEEDS_OCR = r"needs OCR"
EUC_TW = "ch_EUC-TW__ude_euc-tw1.txt"  # Python has no such codec: the C library's is used where iconv is installed

MARKS = re.compile(r"\]\([^)]*\)|[*`>\[\]!]|^\s*[*#-]+ |^\|(?: ---? \|)+$", re.MULTILINE)
REWORDED = {  # words of another program's making, not of the file
    "**From:** test.sender@example.com": "test.sender@example.com",
    "**To:** test.recipient@example.com": "test.recipient@example.com",
    "**Subject:** Test Email Message": "Test Email Message",  # the subject is the title
    "Email Message": "Test Email Message",
    "Content": "",  # a heading of its own above the body
    "```python": "",  # fences are drawn by chunks
    "| --- | --- | --- |": "",  # so are the rules of tables
}
# Words of the reference text that come out, at least; where it is less than nearly all, what is missing.
RECALL = {
    "dl_xlsx_01.xlsx": 0.70,  # the reference tells the numbers of its charts again, and repeats merged cells
    "dl_xlsx_03_chartsheet.xlsx": 0.60,  # likewise: the numbers stand in the first sheet
    "dl_xlsx_04_inflated.xlsx": 0.70,
    "dl_word_tables.docx": 0.85,  # the reference repeats a cell in every column that it spans
    "dl_powerpoint_sample.pptx": 0.88,  # likewise
    "dl_unit_test_headers_numbered.docx": 0.80,  # numbers of nested list items ("2.3.1."), shown as depth
    "dl_escaped_characters.md": 0.65,  # the reference escapes &, < and > as entities
    "dl_docx_rich_cells.docx": 0.94,  # "H 2 O" is H2O
    "dl_legacy_sample.doc": 0.94,  # list numbers, which .doc keeps apart from the text
}
NEARLY_ALL = 0.97
READS = {  # what these say in their own encoding, to catch text that decodes to something else
    "ch_IBM855__ude_1.txt": "В гимназии он не был",
    "ch_IBM866__ude_1.txt": "В гимназии он не был",
    "ch_MacCyrillic__ude_1.txt": "В гимназии он не был",
    "mk_test_mskanji.csv": "髙橋淳",
}


@cache
def manifest() -> dict[str, dict[str, object]]:
    path = Path(__file__).parents[2].parent / "shared" / "data" / "messy_docs" / "manifest.jsonl"
    try:
        path = shared("messy_docs") / "manifest.jsonl"
    except pytest.skip.Exception:
        return {}
    entries = map(json.loads, path.read_text("utf-8").splitlines())
    return {Path(entry["file"]).name: entry for entry in entries}


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    shared("messy_docs")
    with ParserPool(1) as made:
        yield made


def everything(document: ParsedDocument) -> str:
    rows = (f"| {' | '.join(row)} |" for block in document.blocks for row in block.rows)
    return "\n".join([document.title, *(block.text for block in document.blocks), *rows])


def plain(text: str) -> str:
    return " ".join(MARKS.sub("", text).split())


def expected_reason(name: str, expectation: str) -> str:
    if name == EUC_TW and shutil.which("iconv") is None:
        return r"encoding that could not be recognised"
    if expectation == SCANS and shutil.which("tesseract") is None:
        return NEEDS_OCR
    return UNREAD.get(name) or REASONS.get(expectation, "")


def test_all_are_here() -> None:
    shared("messy_docs")
    assert len(manifest()) == 146


@pytest.mark.parametrize("name", manifest() or ["none"])
def test_it_comes_out_as_expected(name: str, pool: ParserPool) -> None:
    entry = manifest()[name]
    content = (shared("messy_docs") / "files" / name).read_bytes()
    reason = expected_reason(name, str(entry["expect"]))
    if reason:
        with pytest.raises(DocumentUnreadable, match=reason) as caught:
            pool.parse(name, content)
        assert "\n" not in str(caught.value)
        return
    text = everything(pool.parse(name, content))
    assert "\0" not in text
    flat = plain(text)
    wanted = [plain(REWORDED.get(words, words)) for words in [*entry["must_include"], READS.get(name, "")]]  # type: ignore[misc]
    assert [words for words in wanted if words not in flat] == []
    assert [words for words in entry["must_not_include"] if words in text] == []  # type: ignore[attr-defined]
    if entry["expected_md"]:
        reference = (shared("messy_docs") / str(entry["expected_md"])).read_text("utf-8")
        assert recall(reference, text) >= RECALL.get(name, NEARLY_ALL)


def recall(reference: str, text: str) -> float:
    wanted, found = (Counter(re.findall(r"\w+", side.casefold())) for side in (reference, text))
    return (wanted & found).total() / wanted.total()


def encoded() -> list[str]:
    return [name for name in manifest() if name.startswith("ch_") and name.endswith(".txt")]


@pytest.mark.parametrize("name", encoded() or ["none"])
def test_the_declared_encoding_is_found(name: str, pool: ParserPool) -> None:
    content = (shared("messy_docs") / "files" / name).read_bytes()
    truth = decoded(content, codec(str(manifest()[name]["encoding"])))
    letters = Counter(filter(str.isalpha, truth))
    found = Counter(filter(str.isalpha, everything(pool.parse(name, content))))
    assert found.total() >= 0.95 * letters.total()
    # The title is made of the file's name.
    assert (found - letters - Counter(filter(str.isalpha, pool.parse(name, content).title))).total() == 0


def decoded(content: bytes, encoding: str) -> str:
    if encoding != "EUC-TW":
        return content.decode(encoding)
    done = subprocess.run(["iconv", "-f", "EUC-TW", "-t", "UTF-8"], input=content, capture_output=True, check=True)
    return done.stdout.decode()


def codec(label: str) -> str:
    label = label if "iso-2022" in label else re.sub(r"-[a-z]+$", "", label)
    return {"MacCyrillic": "mac_cyrillic", "windows": "cp1250"}.get(label, label)
