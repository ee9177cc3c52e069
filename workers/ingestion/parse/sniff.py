"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.formats import extension_of, reader_of

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"OggS", "a sound or film"),
    (b"ID3", "a sound"),
    (b"{\\rtf", "rtf"),
)
_NAMES = {
    "zip": "a ZIP archive",
    "ole": "an old binary Office file",
    "pdf": "a PDF",
    "html": "an HTML page",
    "rtf": "an RTF document",
}
_WANTED = {
    "pdf": ("pdf", "a PDF"),
    "docx": ("zip", "a Word document"),
    "pptx": ("zip", "a PowerPoint presentation"),
    "xlsx": ("zip", "an Excel workbook"),
    "opendocument": ("zip", "an OpenDocument file"),
    "epub": ("zip", "an EPUB book"),
    "zip": ("zip", "a ZIP archive"),
    "rtf": ("rtf", "an RTF document"),
    "xls": ("ole", "an old Excel workbook"),
    "doc": ("ole", "an old Word document"),
    "ppt": ("ole", "an old PowerPoint presentation"),
    "outlook": ("ole", "an Outlook message"),
}
# A login page saved under the name of what was asked for; other text may well begin with HTML.
_NEVER_HTML = {
    "data": "data",
    "notebook": "a notebook",
    "delimited": "a table of values",
    "mail": "a mail",
    "subtitles": "subtitles",
}
_PROGRAM = {
    "docx": "word",
    "doc": "word",
    "rtf": "word",
    "xlsx": "excel",
    "xls": "excel",
    "pptx": "slides",
    "ppt": "slides",
}
_IN_OLE = {"WordDocument": "doc", "Workbook": "xls", "Book": "xls", "PowerPoint Document": "ppt"}
_IN_ZIP = {b"word/document": "docx", b"xl/workbook": "xlsx", b"ppt/presentation": "pptx"}
_SAVED_BY_OFFICE = (b"urn:schemas-microsoft-com:office", b"schemas.microsoft.com/office")
_OLD_SHEETS = (b"\x09\0\x04\0", b"\x09\x02\x06\0", b"\x09\x04\x06\0")  # Excel 2 to 4 put no container round them
_MODERN = frozenset({"docx", "pptx", "xlsx"})


def actual_reader(reader: str, content: bytes) -> str:
    """The reader of an Office file by what it is: its program opens it whatever its name says, and so do people."""
    program = _PROGRAM.get(reader)
    if program is None:
        return reader
    kind = kind_of(content)
    inside: list[str] = []
    if kind == "rtf":
        inside = ["rtf"]
    elif kind == "ole" and "EncryptedPackage".encode("utf-16-le") not in content:
        inside = [found for stream, found in _IN_OLE.items() if f"{stream}\0".encode("utf-16-le") in content]
    elif kind == "zip":
        inside = [found for part, found in _IN_ZIP.items() if part in content]
    elif kind == "html" and any(mark in content[:4096] for mark in _SAVED_BY_OFFICE):
        return "html"
    alike = [found for found in inside if _PROGRAM[found] == program]
    return reader if reader in alike or not alike else alike[0]  # others may be embedded in it


def kind_of(content: bytes) -> str:
    """``pdf``, ``zip``, ``ole``, ``rtf``, ``html``, ``unknown``, or words for something else that is known."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    head = content[:1024]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if b"%pdf-" in start:  # a header may have a little junk before it
        return "pdf"
    return "unknown"


def words_for(content: bytes) -> str:
    kind = kind_of(content)
    return "" if kind == "unknown" else _NAMES.get(kind, kind)


def check_kind(name: str, content: bytes) -> None:
    """Refuses content that is plainly something else than its name promises."""
    extension, kind = extension_of(name), kind_of(content)
    reader = reader_of(name) or ""
    actual = actual_reader(reader, content)
    if actual != reader or (reader == "xls" and content.startswith(_OLD_SHEETS)):
        return
    wanted, words = _WANTED.get(reader, ("text", _NEVER_HTML.get(reader, "text")))
    if kind == "ole" and reader in _MODERN:
        raise DocumentUnreadable(_ole_reason(content))
    if wanted == "text":
        quoted = kind == "pdf" and not content.lstrip().startswith(b"%PDF")  # text that speaks of PDF
        mismatch = kind not in ("unknown", "html") and not quoted
        mismatch = mismatch or (kind == "html" and reader in _NEVER_HTML)
    elif wanted == "pdf":
        mismatch = kind not in ("pdf", "unknown") or b"obj" not in content
    else:
        mismatch = kind != wanted
    if mismatch:
        found = _NAMES.get(kind, "something else" if kind == "unknown" else kind)
        raise DocumentUnreadable(f"the file is named {extension or name} but is {found}, not {words}")


def _ole_reason(content: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in content:
        return "the file is protected by a password"
    return "the file is in the old binary Office format; save it as .docx, .xlsx or .pptx"
