import random

import pytest

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse import SUPPORTED, dispatch
from workers.ingestion.parse.dispatch import parse

from .builders import excel_file, pdf_file, reason, word_file
from .ole_builder import ole_file

SAMPLES = {
    ".md": b"---\ntitle: x\n---\n# H\n\n- a\n  - b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    ".html": b"<html><body><h1>A</h1><table><tr><th>a</th><th>b</th></tr></table><ul><li>x</ul></body></html>",
    ".csv": b'a,b\n"c",d\n',
    ".rst": b"T\n=\n\ntext\n",
    ".pdf": pdf_file(),
    ".docx": word_file(),
    ".xlsx": excel_file(),
}


KINDS = (
    ".md .rst .adoc .html .txt .pdf .docx .pptx .xlsx .csv .tsv .eml .ipynb .json .yaml .yml .zip .py .go .ts .java "
    ".rs .sql .org .epub .odt .rtf .doc .xls .ppt .msg .xml .srt"
)


def test_supported() -> None:
    assert set(KINDS.split()) <= SUPPORTED
    assert parse("A.MD", b"text").title == "A"
    assert parse("Dockerfile", b"FROM python:3.11\nRUN make\n").blocks
    assert parse("LICENSE", b"Permission is granted.").blocks[0].kind == "paragraph"


@pytest.mark.parametrize("extension", sorted(SUPPORTED))
def test_empty(extension: str) -> None:
    assert reason(f"a{extension}", b"") == "the file is empty"
    assert reason(f"a{extension}", b" \n\0\t") == "the file is empty"


def test_unsupported() -> None:
    assert reason("a.key", b"x").startswith(".key files are not supported; supported are .adoc, .csv, .docx,")
    assert reason("photo.png", b"\x89PNG\r\n12").startswith(".png files are not supported (this is a PNG image); ")
    assert reason("a.env", b"TOKEN=x").startswith(".env files are not supported")  # they hold secrets
    assert reason("nothing-known", b"x").startswith("files without an extension are not supported")
    assert reason("a.doc", b"\xd0\xcf") == "the file is named .doc but is something else, not an old Word document"


def test_too_large() -> None:
    assert reason("a.txt", b"x" * 3_000_000, max_bytes=2**20) == "the file is too large: 2.9 MiB, the limit is 1.0 MiB"


def test_wrong_extension() -> None:
    assert reason("a.docx", pdf_file()) == "the file is named .docx but is a PDF, not a Word document"
    assert reason("a.md", word_file()) == "the file is named .md but is a ZIP archive, not text"
    assert reason("a.pdf", word_file()) == "the file is named .pdf but is a ZIP archive, not a PDF"
    assert reason("a.xlsx", b"a,b\n") == "the file is named .xlsx but is something else, not an Excel workbook"
    assert (
        reason("a.csv", b"<!DOCTYPE html><html>") == "the file is named .csv but is an HTML page, not a table of values"
    )
    assert reason("a.json", b"\n<html><body>Log in") == "the file is named .json but is an HTML page, not data"
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    assert "old binary Office format" in reason("a.docx", old)
    assert reason("a.xlsx", old + "EncryptedPackage".encode("utf-16-le")) == "the file is protected by a password"


def test_office_files_are_read_by_what_they_are() -> None:
    assert parse("a.doc", word_file()).title == parse("a.docx", word_file()).title
    assert parse("a.xls", excel_file()).blocks == parse("a.xlsx", excel_file()).blocks
    assert parse("a.doc", rb"{\rtf1 Stop the index.}").blocks[0].text == "Stop the index."
    page = b'<html xmlns:x="urn:schemas-microsoft-com:office:excel"><table><tr><td>a<td>b<tr><td>1<td>2</table></html>'
    assert parse("a.xls", page).blocks[0].rows == (("a", "b"), ("1", "2"))
    assert "is an HTML page" in reason("a.xls", b"<html><body><form>Log in</form></body></html>")


def test_a_sheet_of_excel_2_has_no_container() -> None:
    cells = [b"\x04\0" + bytes([8 + len(text)]) + b"\0" + bytes([0, 0, at, 0, 0, 0, 0, len(text)]) + text
             for at, text in enumerate((b"port", b"8080"))]  # fmt: skip
    content = b"\x09\0\x04\0\x02\0\x10\0" + b"".join(cells) + b"\x0a\0\0\0"
    for whole in (content, ole_file({"Workbook": content})):
        assert [block.rows or block.text for block in parse("a.xls", whole).blocks][-1] == (("port", "8080"),)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), AssertionError()])
def test_a_library_error_is_a_reason_and_keeps_its_cause(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: bytes, name: str) -> None:
        raise error

    monkeypatch.setattr(dispatch, "_loaded", lambda reader: broken)
    with pytest.raises(DocumentUnreadable) as caught:
        parse("a.md", b"text")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("extension", sorted(SAMPLES))
def test_damaged_bytes_never_raise_anything_else(extension: str) -> None:
    source = SAMPLES[extension]
    generator = random.Random(extension)
    seen: list[str] = []
    for _ in range(60):
        damaged = bytearray(source)
        for _ in range(generator.randint(1, 12)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        cut = generator.randint(1, len(damaged)) if generator.random() < 0.3 else len(damaged)
        try:
            document = parse(f"a{extension}", bytes(damaged[:cut]))
        except DocumentUnreadable as error:
            seen.append(str(error))
        else:
            assert document.title
            assert document.blocks
            assert "\0" not in "".join(block.text for block in document.blocks)
    assert all(sentence and "\n" not in sentence for sentence in seen)


@pytest.mark.parametrize("extension", sorted(SUPPORTED))
def test_random_bytes(extension: str) -> None:
    generator = random.Random(extension)
    for length in (1, 7, 64, 1000, 5000):
        try:
            document = parse(f"a{extension}", generator.randbytes(length))
        except DocumentUnreadable:
            continue
        assert length < 64, f"{length} random bytes were taken for text: {document}"
