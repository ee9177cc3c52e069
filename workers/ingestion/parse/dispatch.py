"""Choose the reader by the file's name, check what can be checked first, and turn every failure into its reason."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import ParsedDocument
from workers.ingestion.parse import sniff
from workers.ingestion.parse.draft import Draft, finish
from workers.ingestion.parse.formats import SUPPORTED, extension_of, reader_of
from workers.ingestion.parse.limits import DEFAULT_LIMIT, check_size

Reader = Callable[[bytes, str], Draft]  # content, name


def parse(name: str, content: bytes, max_bytes: int = DEFAULT_LIMIT) -> ParsedDocument:
    """Title, blocks and metadata of one file, read in this process.

    Raises DocumentUnreadable, and nothing else, whatever the bytes are, as long as the process lives.
    """
    reader = reader_of(name)
    if reader is None:
        raise DocumentUnreadable(_unsupported(name, content))
    check_size(content, max_bytes)
    if not content.strip(b"\0 \t\r\n\x0b\x0c"):
        raise DocumentUnreadable("the file is empty")
    try:
        sniff.check_kind(name, content)
        return finish(_loaded(sniff.actual_reader(reader, content))(content, name), name)
    except DocumentUnreadable:
        raise
    except RecursionError as error:
        raise DocumentUnreadable("the file is nested too deeply to be read") from error
    except MemoryError as error:
        raise DocumentUnreadable("the file needs more memory than there is") from error
    except Exception as error:  # a reader's library met bytes that it was not written for
        raise DocumentUnreadable(f"the {extension_of(name) or 'text'} file is damaged or not valid") from error


def _loaded(reader: str) -> Reader:
    """Readers bring large libraries: each is loaded when the first file of its kind comes."""
    return cast(Reader, import_module(f"workers.ingestion.parse.{reader}").read)


def _unsupported(name: str, content: bytes) -> str:
    extension = extension_of(name)
    found = f"{extension} files are" if extension else "files without an extension are"
    kind = sniff.words_for(content)
    return f"{found} not supported{f' (this is {kind})' if kind else ''}; supported are {', '.join(sorted(_SHOWN))}"


# The formats that people keep documents in; source code has too many extensions to say.
_SHOWN = SUPPORTED & set(
    ".md .rst .adoc .org .html .txt .pdf .docx .pptx .xlsx .odt .epub .rtf .csv .tsv .eml .msg .ipynb .json .yaml "
    ".xml .zip".split()
) | {"source code"}
