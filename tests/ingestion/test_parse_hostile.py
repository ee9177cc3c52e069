"""Files made to bring a reader down. Each fails alone with its reason, or is read; the pool goes on either way."""

import io
import zipfile
import zlib
from collections.abc import Iterator

import pytest

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse import Limits, ParserPool

from .builders import repacked, word_file, zip_file

LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12)
)
SLIDE = b'<p:sld xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"/>'


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1, Limits(seconds=60)) as made:
        yield made


def bomb(name: str = "a.txt", size: int = 300 * 2**20) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as stream:
        for _ in range(size // 2**20):
            stream.write(bytes(2**20))
    return buffer.getvalue()


def nested_zip(depth: int) -> bytes:
    content = zip_file({"deepest.md": b"# Found"})
    for _ in range(depth):
        content = zip_file({"inner.zip": content})
    return content


def yaml_bomb(head: bytes = b"") -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    return head + b"\n".join(lines) + b"\n"


def pdf_of(*objects: bytes) -> bytes:
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, o) for n, o in enumerate(objects, 1))
    return body + b"trailer\n<< /Root 1 0 R /Size %d >>\n%%%%EOF\n" % (len(objects) + 1)


def pdf_loop() -> bytes:
    return pdf_of(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 900000 >>")


def pdf_stream_bomb() -> bytes:
    packed = zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * 4_000_000, 9)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
    page += b"/Resources << /Font << /F1 5 0 R >> >> >>"
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    return pdf_of(b"<< /Type /Catalog /Pages 2 0 R >>", pages, page, stream, font)


REASONS = {
    "zip bomb": ("a.zip", bomb(), r"ZIP bomb"),
    "docx bomb": ("a.docx", bomb("word/document.xml"), r"ZIP bomb"),
    "pptx bomb": ("a.pptx", bomb("ppt/presentation.xml"), r"ZIP bomb"),
    "odt bomb": ("a.odt", bomb("content.xml"), r"ZIP bomb"),
    "epub bomb": ("a.epub", bomb("a.xhtml"), r"ZIP bomb"),
    "nested zip": ("a.zip", nested_zip(6), r"too deep within other files"),
    "billion laughs": ("a.xml", LAUGHS + b"]><l>&l;</l>", r"declares XML entities"),
    "billion laughs in Word": (
        "a.docx",
        repacked(word_file(), "word/document.xml", (b"<w:document ", LAUGHS + b"]><w:document ")),
        r"declares XML entities",
    ),
    "deep JSON": ("a.json", b"[" * 200_000 + b"]" * 200_000, r"nested too deeply"),
    "deep XML": (
        "a.xml",
        b"<a>" * 50_000 + b"x" + b"</a>" * 50_000,
        r"nested too deeply|not valid XML|no readable text",
    ),
    "a PDF whose pages hold themselves": ("a.pdf", pdf_loop(), r"no pages|damaged|blank|empty"),
    "a PDF page that swells to 92 MB": ("a.pdf", pdf_stream_bomb(), r"needs more memory|takes too long"),
    "NUL bytes": ("a.md", bytes(100_000), r"empty"),
}


@pytest.mark.parametrize("case", REASONS)
def test_refused_with_the_reason(case: str, pool: ParserPool) -> None:
    name, content, expected = REASONS[case]
    with pytest.raises(DocumentUnreadable, match=expected):
        pool.parse(name, content)
    assert pool.parse("after.md", b"# Still\n\nhere").title == "Still"


ENDURED = {
    "YAML bomb as plain YAML": ("a.yaml", yaml_bomb()),
    "YAML bomb in an example": ("api.yaml", yaml_bomb(b"openapi: '3.0'\ninfo: {title: Api}\n") + b"paths: {}\n"),
    "deep HTML": ("a.html", b"<div>" * 30_000 + b"text" + b"</div>" * 30_000),
    "deep lists": ("a.html", b"<ul><li>" * 5_000 + b"text"),
    "unclosed brackets": ("a.md", b"[" * 50_000 + b"text"),
    "emphasis without end": ("a.md", b"*a **b " * 20_000),
    "deep quotes": ("a.md", b">" * 20_000 + b" text"),
    "deep brackets of code": ("a.py", b"x = " + b"(" * 50_000 + b")" * 50_000),
    "one long line of CSV": ("a.csv", b"a,b\n" + b"x" * 3_000_000 + b",1\n"),
    "attributes that name each other": ("a.adoc", b":a: {b}{b}\n:b: {a}{a}\n\nText {a}\n"),
    "RST substitution of itself": ("a.rst", b".. |a| replace:: |a| |a|\n\nText |a|\n"),
    "nested mails": (
        "a.eml",
        b"Subject: s\nFrom: a@b\nContent-Type: message/rfc822\n\n" * 300 + b"Subject: last\nFrom: a@b\n\ntext",
    ),
    "a reference in a circle": (
        "a.json",
        b'{"openapi":"3","info":{"title":"T"},"paths":{"/a":{"get":{"parameters":[{"$ref":"#/paths/~1a/get/parameters/0"}'
        b"]}}}}",
    ),
}


def outcome(pool: ParserPool, name: str, content: bytes) -> tuple[int, str]:
    """How many characters came out, or the reason why none did."""
    try:
        return sum(len(block.text) for block in pool.parse(name, content).blocks), ""
    except DocumentUnreadable as error:
        return 0, str(error)


@pytest.mark.parametrize("case", ENDURED)
def test_read_or_refused_without_harm(case: str, pool: ParserPool) -> None:
    name, content = ENDURED[case]
    shown, reason = outcome(pool, name, content)
    assert "too long" not in reason, "it has to end by itself"
    assert "crashes" not in reason, "no library may be brought down"
    assert shown < 4 * len(content) + 20_000_000
    assert pool.parse("after.md", b"# Still\n\nhere").title == "Still"
