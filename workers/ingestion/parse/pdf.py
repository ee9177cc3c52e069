"""PDF through PDFium: the text of each page in reading order, with its tables, put together into headings (by the
outline where there is one, else by the type), paragraphs, bullets and code. Scanned pages go through Tesseract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse import ocr, progress
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.pdf_blocks import Entry, assemble
from workers.ingestion.parse.pdf_forms import page_of, prepare
from workers.ingestion.parse.pdf_lines import Line, page_lines
from workers.ingestion.parse.pdf_words import page_words

MAX_PAGES = 5_000
_STRIDE, _STRIDE_SECONDS = 200, 60.0  # a long book may take longer than other files, at this pace
_CUT_OFF = "the PDF is cut off: its end is missing"
_DAMAGED = "the PDF is damaged or cut off and cannot be read"
_NEEDS_OCR = "the PDF holds no text (scanned pages?) and needs OCR, for which Tesseract is not installed"
_FILE_NAME = re.compile(r"\.(?:docx?|xlsx?|pptx?|pdf|tex|indd|dvi|ps|html?)$|^untitled|^microsoft word -", re.I)
_MAX_ENTRIES = 5_000


@dataclass(slots=True)
class _Pages:
    lines: list[list[Line]] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)  # numbers of pages whose content is broken
    scanned: list[int] = field(default_factory=list)  # numbers of pages that show something and hold no text
    recognised: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)


def read(content: bytes, name: str) -> Draft:
    document = _opened(content)
    try:
        pages = _pages(document)
        if pages.scanned:
            _recognise(document, pages)
        if not any(line.text.strip() or line.rows for page in pages.lines for line in page):
            raise DocumentUnreadable(_why_empty(pages))
        metadata = _metadata(document)
        title = metadata.pop("title", "")
        blocks = assemble(pages.lines, list(_outline(document)))
        notes = _notes(pages, len(document)) | ({} if _has_end(content) else {"truncated": _CUT_OFF})
        return Draft(blocks, "", "" if _FILE_NAME.search(title) else title, metadata | notes)
    finally:
        document.close()


def _opened(content: bytes) -> pdfium.PdfDocument:
    try:
        document = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise DocumentUnreadable("the PDF is protected by a password") from error
        if getattr(error, "err_code", None) == raw.FPDF_ERR_SECURITY:
            raise DocumentUnreadable("the PDF is encrypted in a way that cannot be read") from error
        raise DocumentUnreadable(_DAMAGED if _has_end(content) else _CUT_OFF) from error
    if not len(document):
        document.close()
        raise DocumentUnreadable("the PDF has no pages")
    return document


def _has_end(content: bytes) -> bool:
    return b"%%EOF" in content[-65536:]


def _pages(document: pdfium.PdfDocument) -> _Pages:
    """One broken page must not lose the others; it is named in the metadata."""
    found = _Pages()
    prepare(document)
    for number in range(1, min(len(document), MAX_PAGES) + 1):
        if number % _STRIDE == 0:
            progress.extend(_STRIDE_SECONDS)
        try:
            page, drawn = page_of(document, number - 1)
        except pdfium.PdfiumError:
            found.lines.append([])
            found.unread.append(number)
            continue
        words = page_words(page)
        found.lines.append(page_lines(words))
        if words.hidden:
            found.hidden.append(number)
        if words.garbled or (drawn and not (words.upright or words.turned or words.hidden)):
            found.scanned.append(number)
        page.close()
    return found


def _recognise(document: pdfium.PdfDocument, pages: _Pages) -> None:
    if not ocr.installed():
        return
    for number in list(pages.scanned):
        lines = ocr.page_lines(document[number - 1])
        if lines:
            pages.lines[number - 1] = lines
            pages.recognised.append(number)
            pages.scanned.remove(number)


def _why_empty(pages: _Pages) -> str:
    if pages.unread and len(pages.unread) == len(pages.lines):
        return _DAMAGED
    if pages.hidden:
        return "the PDF holds only hidden text, which no reader sees"
    if pages.scanned and ocr.installed():
        return "the PDF holds only pictures, in which OCR found no text"
    return _NEEDS_OCR if pages.scanned else "the file is empty: the pages of the PDF are blank"


def _notes(pages: _Pages, count: int) -> dict[str, str]:
    numbers = {
        "unread_pages": pages.unread,
        "needs_ocr_pages": pages.scanned,
        "ocr_pages": pages.recognised,
        "hidden_text_pages": pages.hidden,
    }
    notes = {name: ", ".join(map(str, found)) for name, found in numbers.items() if found}
    return notes | ({"truncated": f"only the first {MAX_PAGES} pages"} if count > MAX_PAGES else {})


def _outline(document: pdfium.PdfDocument) -> Iterator[Entry]:
    """The bookmarks: title, page from 1, depth from 0."""
    try:
        for place, mark in enumerate(document.get_toc(max_depth=6)):
            target = mark.get_dest()
            page = target.get_index() if target is not None else None
            if place >= _MAX_ENTRIES:
                return
            if page is not None and mark.get_title().strip():
                yield Entry(" ".join(mark.get_title().split()), page + 1, mark.level)
    except pdfium.PdfiumError:  # a broken outline must not lose the text
        return


def _metadata(document: pdfium.PdfDocument) -> dict[str, str]:
    found = document.get_metadata_dict(skip_empty=True)
    date = re.match(r"D:(\d{4})(\d{2})(\d{2})", found.get("ModDate") or found.get("CreationDate") or "")
    updated = "-".join(date.groups()) if date else ""
    return {"title": found.get("Title", ""), "author": found.get("Author", ""), "updated": updated}
