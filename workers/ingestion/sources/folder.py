"""Source: a folder, or one file of it. A file whose times and size are unchanged is not read again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Setting, known_of, slices

IGNORED_FOLDERS = frozenset({"node_modules", "__pycache__"})
PAGE = 500
SETTLED_SECONDS = 2.0  # a file changed this recently may change again within one tick of its file system's clock


@dataclass(frozen=True, slots=True)
class _File:
    external_id: str
    path: Path
    version: str | None


class Folder:
    """``prefix`` precedes each external id: the folder lies inside the source's. ``only``: one file of it.

    ``thorough``: every file is read, whatever its times say.
    """

    def __init__(
        self, folder: Path, max_bytes: int, prefix: str = "", only: str | None = None, thorough: bool = False
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._prefix = prefix
        self._only = only
        self._thorough = thorough
        self._listed: list[_File] | None = None

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        if self._listed is None or cursor is None:
            self._listed = await asyncio.to_thread(self._list)
        after = cursor["after"] if cursor else ""
        start = next((place for place, file in enumerate(self._listed) if file.external_id > after), len(self._listed))
        page, more = slices(self._listed, start, PAGE)
        return Changes(
            [self._entry(file) for file in page],
            cursor={"after": page[-1].external_id} if more else None,
            more=more,
            whole=self._only is None,
            first=cursor is None and self._only is None,
            total=len(self._listed),
        )

    async def find(self, external_id: str) -> Entry | None:
        if self._listed is None:
            self._listed = await asyncio.to_thread(self._list)
        return next((self._entry(file) for file in self._listed if file.external_id == external_id), None)

    def _list(self) -> list[_File]:
        if not self._folder.exists():
            raise AlmanacError(f"{self._folder} does not exist on this machine.")
        recent = time.time() - SETTLED_SECONDS
        found = []
        for path in files(self._folder, self._only):
            external_id = self._prefix + readable_name(path.relative_to(self._folder).as_posix())
            found.append(_File(external_id, path, None if self._thorough else _version(path, recent)))
        return sorted(found, key=lambda file: file.external_id)

    def _entry(self, file: _File) -> Entry:
        within = None if self._only is not None else self._folder  # who names one file means it, whatever it is

        async def load(_known: str | None) -> Loaded:
            return await asyncio.to_thread(read, file.path, self._max_bytes, within)

        return Entry(file.external_id, load, file.version, url=file.path.as_uri())


def open_folder(setting: Setting) -> Folder:
    return Folder(Path(setting.location), setting.client.max_bytes, thorough=setting.thorough)


def files(folder: Path, only: str | None = None) -> Iterator[Path]:
    """Hidden files and folders are left out. Links are followed to files of the folder, not to folders, and not out of
    it: whoever may write into a folder could else have anything read aloud that the worker can read."""
    if only is not None:
        yield folder / only
        return
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in IGNORED_FOLDERS]
        for name in names:
            path = Path(place) / name
            if not name.startswith(".") and path.is_file() and not (path.is_symlink() and _leads_out(path, folder)):
                yield path


def _leads_out(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def _version(path: Path, recent: float) -> str | None:
    """What changes whenever the file does; None where that cannot be told."""
    try:
        status = path.stat()
    except OSError:
        return None
    if max(status.st_mtime, status.st_ctime) > recent:
        return None
    return f"{status.st_mtime_ns:x}.{status.st_ctime_ns:x}.{status.st_size:x}"


def readable_name(name: str) -> str:
    """A path as text that can be stored: bytes of it that are not UTF-8 as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read(path: Path, max_bytes: int, within: Path | None = None) -> Loaded:
    """One file, which must lie ``within`` that folder when it is opened; raises ``DocumentUnreadable``."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if within is not None:
                _check_place(path, within, about)
            if about.st_size > max_bytes:
                limit = max_bytes / 2**20
                raise DocumentUnreadable(
                    f"the file is too large ({about.st_size / 2**20:.1f} MiB; ALMANAC_FILE_MAX_MB is {limit:g})"
                )
            content = file.read()
    except OSError as error:
        raise DocumentUnreadable(f"the file cannot be read ({error.strerror or type(error).__name__})") from error
    changed = datetime.fromtimestamp(about.st_mtime, UTC)
    return Loaded(readable_name(path.name), content, details=known_of(modified=changed.isoformat()))


def _check_place(path: Path, within: Path, opened: os.stat_result) -> None:
    """The name may have become a link since it was listed: what was opened has to be what lies in the folder."""
    place = path.resolve(strict=True)
    if not place.is_relative_to(within.resolve()) or not os.path.samestat(place.stat(), opened):
        raise DocumentUnreadable("the file is a link that leads out of its folder")
