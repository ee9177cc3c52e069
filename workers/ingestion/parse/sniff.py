"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from pathlib import PurePath

from assistant.errors import DocumentUnreadable

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
)
_NAMES = {"zip": "a ZIP archive", "ole": "an old binary Office file", "pdf": "a PDF", "html": "an HTML page"}
_WANTED = {".pdf": ("pdf", "a PDF"), ".docx": ("zip", "a Word document"), ".xlsx": ("zip", "an Excel workbook")}


def kind_of(content: bytes) -> str:
    """``pdf``, ``zip``, ``ole``, ``html``, ``unknown``, or words for something else that is known."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    head = content[:1024]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if start.startswith(b"%pdf-"):
        return "pdf"
    return "unknown"


def check_kind(name: str, content: bytes) -> None:
    """Refuses content that is plainly something else than its extension promises."""
    extension, kind = PurePath(name).suffix.lower(), kind_of(content)
    wanted, words = _WANTED.get(extension, ("text", "text"))
    if kind == "ole" and wanted == "zip":
        raise DocumentUnreadable(_ole_reason(content))
    if wanted == "text":
        mismatch = kind not in ("unknown", "html")
    elif wanted == "pdf":
        mismatch = kind not in ("pdf", "unknown") or b"obj" not in content
    else:
        mismatch = kind != wanted
    if mismatch:
        found = _NAMES.get(kind, "something else" if kind == "unknown" else kind)
        raise DocumentUnreadable(f"the file is named {extension} but is {found}, not {words}")


def _ole_reason(content: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in content:
        return "the file is protected by a password"
    return "the file is in the old binary Office format; save it as .docx or .xlsx"
