"""PDF: the text of each page in reading order, put together into headings, paragraphs, bullets and code."""

from __future__ import annotations

import io
import logging
import re

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.pdf_blocks import assemble
from workers.ingestion.parse.pdf_lines import Line, page_lines

logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns about every oddity it repairs

_DAMAGED = "the PDF is damaged or cut off and cannot be read"
_FILE_NAME = re.compile(r"\.(?:docx?|xlsx?|pptx?|pdf|tex|indd|dvi|ps|html?)$|^untitled|^microsoft word -", re.I)


def read(content: bytes) -> Draft:
    if b"%%EOF" not in content[-65536:]:
        raise DocumentUnreadable("the PDF is cut off: its end is missing")
    reader = _opened(content)
    pages, unread = _pages(reader)
    if not any(line.text.strip() for page in pages for line in page):
        if unread:
            raise DocumentUnreadable(_DAMAGED)
        raise DocumentUnreadable("the PDF holds no text (scanned pages?), it needs OCR")
    metadata = _metadata(reader)
    title = metadata.pop("title", "")
    if unread:
        metadata["unread_pages"] = ", ".join(map(str, unread))
    return Draft(assemble(pages), "", "" if _FILE_NAME.search(title) else title, metadata)


def _opened(content: bytes) -> PdfReader:
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentUnreadable("the PDF is protected by a password")
        if not len(reader.pages):
            raise DocumentUnreadable("the PDF has no pages")
    except PyPdfError as error:
        raise DocumentUnreadable(_DAMAGED) from error
    return reader


def _pages(reader: PdfReader) -> tuple[list[list[Line]], list[int]]:
    """Lines by page, and the numbers of the pages whose content stream cannot be read."""
    pages: list[list[Line]] = []
    unread: list[int] = []
    for number in range(len(reader.pages)):
        try:
            pages.append(page_lines(reader.pages[number]))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # one bad page must not lose the others; it is named in the metadata
            pages.append([])
            unread.append(number + 1)
    return pages, unread


def _metadata(reader: PdfReader) -> dict[str, str]:
    try:
        information = reader.metadata
        if information is None:
            return {}
        updated = information.modification_date or information.creation_date
        found = {"title": information.title or "", "author": information.author or ""}
        return found | {"updated": updated.date().isoformat() if updated else ""}
    except (PyPdfError, ValueError, TypeError, AttributeError, KeyError):
        return {}
