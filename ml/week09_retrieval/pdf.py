"""A PDF to passages that know their pages, or one sentence that says why not.

A PDF stores glyphs at positions, not paragraphs: the extracted lines break where the page's lines broke. So lines that
go on in mid-sentence are joined before cutting, and so are pages; a passage's pages are found again from its place in
the whole text.

Left out: tables and columns as such, running heads, and scanned pages (they hold a picture; that needs OCR, and is
reported as such).
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

from ml.lesson import LessonError
from ml.week09_retrieval.chunking import recursive

# PDF lines break anywhere, so a sentence's end is the coarser border here; in Markdown it is the line's.
PDF_BORDERS = (r"\n\s*\n", r"(?<=[.!?])\s", r"\n", r"\s")
_HYPHENATED = re.compile(r"(?<=[a-z])-[ \t]*\n[ \t]*(?=[a-z])")
_SENTENCE_END = re.compile(r"[.!?]\s+|\n\s*\n")
_GOES_ON = re.compile(r"(?<![.:;!?\n])[ \t]*\n[ \t]*(?=[a-z(\d])")


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of the document and the pages it stands on, counted from 1."""

    text: str
    first_page: int
    last_page: int

    @property
    def pages(self) -> str:
        one = self.first_page == self.last_page
        return f"page {self.first_page}" if one else f"pages {self.first_page}-{self.last_page}"


def read_pages(path: Path) -> list[str]:
    """The text of each page, lines joined to sentences. Raises LessonError for a file that cannot be answered from."""
    if not path.is_file():
        raise LessonError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise LessonError(f"{path} is empty.")
    with path.open("rb") as file:
        if b"%PDF-" not in file.read(1024):  # the header may follow a little junk
            raise LessonError(f"{path} is not a PDF.")
    try:
        pages = _extract(path)
    except DependencyError as error:
        raise LessonError(f"{path} is encrypted in a way that needs the package cryptography.") from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LessonError(f"{path} is damaged: its pages cannot be read.") from error  # pypdf raises all of these
    if not pages:
        raise LessonError(f"{path} has no pages.")
    if not any(any(character.isalnum() for character in page) for page in pages):
        raise LessonError(f"{path} holds no text, only pictures (a scan?); run OCR on it first, ocrmypdf for one.")
    return pages


def passages(pages: list[str], size: int = 800) -> list[Passage]:
    """Passages of at most ``size`` characters, in reading order, none across two pages but for a sentence that is.

    A citation of "pages 1-3" helps nobody, so a page is a border even where more would fit.
    """
    text, starts = _joined(pages)
    cuts = [_after_sentence(text, start) for start in starts]  # a sentence belongs to the page where it begins
    done = []
    for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        for chunk in recursive(text[begin:end], size, PDF_BORDERS):
            first, last = (bisect_right(starts, begin + place) for place in (chunk.start, chunk.end - 1))
            done.append(Passage(chunk.text, first, last))
    return done


def _joined(pages: list[str]) -> tuple[str, list[int]]:
    """The whole text, and where each page begins in it; a sentence that runs over a page break is made whole."""
    text, starts = "", []
    for page in pages:
        text += "" if not text else " " if page[:1].islower() else "\n\n"
        starts.append(len(text))
        text += page
    return text, starts


def _after_sentence(text: str, start: int) -> int:
    """``start``, or the end of the sentence that runs across it."""
    if not text[start : start + 1].islower():
        return start
    end = _SENTENCE_END.search(text, start)
    return end.end() if end else start


def _extract(path: Path) -> list[str]:
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it says about a bad file, our one sentence says
    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):  # many are encrypted with no password, only to forbid printing
        raise LessonError(f"{path} is encrypted: save a copy without its password and ask that one.")
    return [_tidied(page.extract_text()) for page in reader.pages]


def _tidied(text: str) -> str:
    text = text.replace("\x00", "").replace("\u00ad", "")
    return _GOES_ON.sub(" ", _HYPHENATED.sub("", text)).strip()
