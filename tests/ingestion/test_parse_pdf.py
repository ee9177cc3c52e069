import io

from reportlab.pdfgen.canvas import Canvas

from workers.ingestion.parse import parse

from .builders import pdf_file, reason

PARAGRAPH = (
    "The search service keeps its index in memory and needs a full restart after the disk was full. "
    "Tell the team first."
)


def test_one_page() -> None:
    document = parse("a.pdf", pdf_file())
    assert document.title == "Search runbook"
    assert [(b.kind, b.level, b.text, b.page) for b in document.blocks] == [
        ("paragraph", 0, "Internal - page 1", 1),
        ("heading", 3, "Restart part 1", 1),
        ("paragraph", 0, PARAGRAPH, 1),
        ("paragraph", 0, "Wait until the queue is empty.", 1),
        ("list_item", 0, "stop the workers", 1),
        ("list_item", 0, "start them again", 1),
        ("code", 0, "systemctl stop search\nsystemctl start search", 1),
    ]


def test_running_headers_go_and_pages_are_kept() -> None:
    document = parse("a.pdf", pdf_file(pages=4))
    assert not [block for block in document.blocks if "Internal" in block.text]
    headings = [(block.text, block.page) for block in document.blocks if block.kind == "heading"]
    assert headings == [(f"Restart part {number}", number) for number in range(1, 5)]


def test_password() -> None:
    assert reason("a.pdf", pdf_file(password="s3cret")) == "the PDF is protected by a password"
    assert parse("a.pdf", pdf_file(password="")).title == "Search runbook"


def test_scanned_pages_need_ocr() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.rect(10, 10, 300, 300, fill=1)
    canvas.save()
    assert reason("a.pdf", buffer.getvalue()) == "the PDF holds no text (scanned pages?), it needs OCR"


def test_cut_off_and_damaged() -> None:
    content = pdf_file(pages=3)
    assert reason("a.pdf", content[: len(content) // 2]) == "the PDF is cut off: its end is missing"
    broken = content[:200] + b"\0" * (len(content) - 400) + content[-200:]
    assert reason("a.pdf", broken) == "the PDF is damaged or cut off and cannot be read"
    assert (
        reason("a.pdf", b"<!DOCTYPE html><html>Login</html>") == "the file is named .pdf but is an HTML page, not a PDF"
    )
