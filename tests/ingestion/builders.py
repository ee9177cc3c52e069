"""Real files, made with the libraries that people's tools use."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import docx
import pytest
from openpyxl import Workbook
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import ParsedDocument
from workers.ingestion.parse.dispatch import parse

SHARED = Path(os.environ.get("ALMANAC_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def shared(folder: str) -> Path:
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"no {folder} under {SHARED}; set ALMANAC_DATA to the folder that holds it")
    return path


def reason(name: str, content: bytes, **options: int) -> str:
    with pytest.raises(DocumentUnreadable) as caught:
        parse(name, content, **options)
    return str(caught.value)


def brief(document: ParsedDocument) -> list[tuple[object, ...]]:
    """Blocks as (kind, level, text or rows), which is what most tests want to see."""
    return [(block.kind, block.level, block.text or block.rows) for block in document.blocks]


def word_file() -> bytes:
    document = docx.Document()
    document.core_properties.author = "Ada"
    document.add_heading("Deploying", level=1)
    document.add_paragraph("Use the pipeline.")
    document.add_heading("Steps", level=2)
    for step in ("Build", "Test"):
        document.add_paragraph(step, style="List Number")
    document.add_paragraph("a note", style="List Bullet")
    document.add_paragraph("a detail", style="List Bullet 2")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (c for row in table.rows for c in row.cells), ("Service", "Owner", "search", "platform"), strict=True
    ):
        cell.text = text
    document.add_paragraph("After the table.")
    return saved(document)


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def excel_file() -> bytes:
    workbook = Workbook()
    first = workbook.active
    first.title = "Services"
    for row in (("Service", "Port", "Share"), ("search", 8080, 0.25), (None, None, None), ("mail", 25.0, None)):
        first.append(row)
    workbook.create_sheet("Empty")
    workbook.create_sheet("Owners").append(("Team", "Since"))
    return saved(workbook)


def pdf_file(password: str | None = None, pages: int = 1) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    canvas.setTitle("runbook.docx")
    for number in range(1, pages + 1):
        _page(canvas, number)
    canvas.save()
    if password is None:
        return buffer.getvalue()
    writer = PdfWriter(clone_from=PdfReader(buffer))
    writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _page(canvas: Canvas, number: int) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawString(60, 815, f"Internal - page {number}")
    if number == 1:
        canvas.setFont("Helvetica-Bold", 20)
        canvas.drawString(60, 780, "Search runbook")
    canvas.setFont("Helvetica-Bold", 14)
    canvas.drawString(60, 740, f"Restart part {number}")
    canvas.setFont("Helvetica", 10)
    for offset, line in enumerate(
        (
            "The search service keeps its index in memory and needs a full re-",
            "start after the disk was full. Tell the team first.",
        )
    ):
        canvas.drawString(60, 715 - 12 * offset, line)
    canvas.drawString(60, 680, "Wait until the queue is empty.")
    canvas.drawString(60, 660, "• stop the workers")
    canvas.drawString(60, 648, "• start them again")
    canvas.setFont("Courier", 9)
    canvas.drawString(60, 620, "systemctl stop search")
    canvas.drawString(60, 609, "systemctl start search")
    canvas.showPage()


def zip_file(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def repacked(content: bytes, part: str, change: tuple[bytes, bytes]) -> bytes:
    """The archive with one part's bytes changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert change[0] in parts[part]
    parts[part] = parts[part].replace(*change)
    return zip_file(parts)
