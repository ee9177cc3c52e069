"""Choose the reader by extension, check what can be checked first, and turn every failure into its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import ParsedDocument
from workers.ingestion.parse import delimited, docx, html, markdown, pdf, sniff, text, xlsx
from workers.ingestion.parse.draft import Draft, finish

DEFAULT_LIMIT = 50 * 1024 * 1024

_READERS: Mapping[str, Callable[[bytes], Draft]] = {
    ".md": markdown.read,
    ".markdown": markdown.read,
    ".html": html.read,
    ".htm": html.read,
    ".pdf": pdf.read,
    ".docx": docx.read,
    ".xlsx": xlsx.read,
    ".csv": delimited.read,
    ".tsv": delimited.read,
    ".txt": text.read,
    ".text": text.read,
    ".log": text.read,
    ".rst": text.read,
}
SUPPORTED = frozenset(_READERS)
_OLD = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pdf"}


def parse(name: str, content: bytes, max_bytes: int = DEFAULT_LIMIT) -> ParsedDocument:
    """Title, blocks and metadata of one file; its extension chooses the reader.

    Raises DocumentUnreadable, and nothing else, whatever the bytes are.
    """
    extension = PurePath(name).suffix.lower()
    _check(extension, content, max_bytes)
    try:
        sniff.check_kind(name, content)
        return finish(_READERS[extension](content), name)
    except DocumentUnreadable:
        raise
    except RecursionError as error:
        raise DocumentUnreadable("the file is nested too deeply to be read") from error
    except MemoryError as error:
        raise DocumentUnreadable("the file needs more memory than there is") from error
    except Exception as error:  # a reader's library met bytes that it was not written for
        raise DocumentUnreadable(f"the {extension} file is damaged or not valid") from error


def _check(extension: str, content: bytes, max_bytes: int) -> None:
    if extension in _OLD:
        better = _OLD[extension]
        raise DocumentUnreadable(f"{extension} is an old binary format that is not supported; save it as {better}")
    if extension not in SUPPORTED:
        found = f"{extension} files are" if extension else "files without an extension are"
        raise DocumentUnreadable(f"{found} not supported; supported are {', '.join(sorted(SUPPORTED))}")
    if len(content) > max_bytes:
        size, limit = len(content) / 2**20, max_bytes / 2**20
        raise DocumentUnreadable(f"the file is too large: {size:.1f} MiB, the limit is {limit:.1f} MiB")
    if not content.strip(b"\0 \t\r\n\x0b\x0c"):
        raise DocumentUnreadable("the file is empty")
