"""The container of the old binary formats (.doc, .ppt, .msg), opened through olefile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import olefile

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.ole_summary import encoding_of, summary

MAX_STREAM = 64 * 2**20
_BROKEN = (OSError, olefile.olefile.OleFileError, IndexError)


class Container:
    """Streams by name. Sizes come from the file's own directory and are checked before they are read."""

    def __init__(self, file: olefile.OleFileIO, prefix: str = "") -> None:
        self._file = file
        self._prefix = prefix

    def within(self, storage: str) -> Container:
        """One of its storages as a container of its own."""
        return Container(self._file, f"{self._prefix}{storage}/")

    def stream(self, name: str) -> bytes:
        """Empty where there is no such stream."""
        name = self._prefix + name
        if self._file.get_type(name) != olefile.STGTY_STREAM:
            return b""
        if self._file.get_size(name) > MAX_STREAM:
            raise DocumentUnreadable("the file is too large: one of its parts is more than 64 MiB")
        with self._file.openstream(name) as stream:
            return bytes(stream.read())

    def storages(self) -> list[str]:
        """The names of the outermost storages and streams, sorted."""
        above = self._prefix.split("/")[:-1]
        place = len(above)
        paths = self._file.listdir(streams=True, storages=True)
        return sorted({path[place] for path in paths if len(path) > place and path[:place] == above})

    def title(self) -> tuple[str, dict[str, str]]:
        """Title, author and date from the summary that Office keeps beside the text."""
        return summary(self._summary())

    def encoding(self) -> str:
        """That of texts in bytes, as the summary says it."""
        return encoding_of(self._summary())

    def _summary(self) -> bytes:
        try:
            return self.stream("\x05SummaryInformation")
        except (DocumentUnreadable, *_BROKEN):  # a broken summary must not lose the text
            return b""


@contextmanager
def opened(content: bytes) -> Iterator[Container]:
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as file:
            yield Container(file)
    except _BROKEN as error:
        raise DocumentUnreadable("the file is damaged or cut off and cannot be read") from error
