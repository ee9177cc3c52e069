"""The container of the old binary formats (.doc, .ppt, .msg), opened through olefile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import olefile

from assistant.errors import DocumentUnreadable

MAX_STREAM = 64 * 2**20


class Container:
    """Streams by name. Sizes come from the file's own directory and are checked before they are read."""

    def __init__(self, file: olefile.OleFileIO) -> None:
        self._file = file

    def stream(self, name: str) -> bytes:
        """Empty where there is no such stream."""
        if not self._file.exists(name):
            return b""
        if self._file.get_size(name) > MAX_STREAM:
            raise DocumentUnreadable("the file is too large: one of its parts is more than 64 MiB")
        with self._file.openstream(name) as stream:
            return bytes(stream.read())

    def storages(self) -> list[str]:
        """The names of the outermost storages, sorted."""
        return sorted({path[0] for path in self._file.listdir(streams=True, storages=True)})

    def title(self) -> tuple[str, dict[str, str]]:
        """Title, author and date from the summary that Office keeps beside the text."""
        try:
            meta = self._file.get_metadata()
        except Exception:  # a broken summary must not lose the text
            return "", {}
        saved = meta.last_saved_time
        updated = saved.date().isoformat() if saved is not None and saved.year > 1980 else ""
        return _text(meta.title), {"author": _text(meta.author), "updated": updated}


@contextmanager
def opened(content: bytes) -> Iterator[Container]:
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as file:
            yield Container(file)
    except (OSError, olefile.olefile.OleFileError, IndexError) as error:
        raise DocumentUnreadable("the file is damaged or cut off and cannot be read") from error


def _text(value: object) -> str:
    return value.decode("cp1252", "replace").strip("\0 ") if isinstance(value, bytes) else ""
