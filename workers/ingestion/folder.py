"""Source: a folder, or one file of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import SourceItem

IGNORED_FOLDERS = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for: ``folder`` as a whole, or only the file ``only`` in it."""

    folder: Path
    only: str | None = None

    @classmethod
    def of(cls, path: Path) -> Scope:
        path = path.resolve()
        return cls(path) if path.is_dir() else cls(path.parent, path.name)


def files(scope: Scope) -> Iterator[Path]:
    """Files in a stable order. Hidden files and folders are left out; links are followed to files, not to folders."""
    if scope.only is not None:
        yield scope.folder / scope.only
        return
    for folder, folders, names in os.walk(scope.folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():
                yield path


def readable_name(name: str) -> str:
    """A path as text that can be stored: bytes of it that are not UTF-8 as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def load(path: Path, external_id: str, max_bytes: int) -> SourceItem:
    """Read one file; raises ``DocumentUnreadable``."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            limit = max_bytes / 2**20
            raise DocumentUnreadable(
                f"the file is too large ({size / 2**20:.1f} MiB; ALMANAC_FILE_MAX_MB is {limit:g})"
            )
        content = path.read_bytes()
    except OSError as error:
        raise DocumentUnreadable(f"the file cannot be read ({error.strerror or type(error).__name__})") from error
    return SourceItem(external_id, readable_name(path.name), content, url=path.as_uri())
