"""Source: a folder, or one file of it. A file whose times and size are unchanged is not read again.

A folder inside that cannot be read keeps its documents, and is told as a failure of its own. The folder itself is an
error where it cannot be read, or where it is empty and on another file system than before: a share that is not mounted
is no wish to delete what was read of it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.http import Unavailable
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Setting, known_of, slices

GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO, *GONE})
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

    ``thorough``: every file is read, whatever its times say. A cursor: ``after`` which file a listing goes on;
    ``device``, the file system that the folder was on the last time it held anything.
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
        self._unread: dict[str, str] = {}  # folders inside -> why they cannot be read

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        cursor = cursor or {}
        after, device = cursor.get("after", ""), cursor.get("device")
        if self._listed is None or not after:
            self._listed = await asyncio.to_thread(self._list)
            device = await asyncio.to_thread(self._device, device)
        start = next((place for place, file in enumerate(self._listed) if file.external_id > after), len(self._listed))
        page, more = slices(self._listed, start, PAGE)
        first = not after and self._only is None
        return Changes(
            [*(self._entry(file) for file in page), *(self._failing(place) for place in self._unread if not more)],
            cursor=({"after": page[-1].external_id} if more else {}) | {"device": device},
            more=more,
            whole=self._only is None,
            first=first,
            total=len(self._listed),
            spared=() if more else list(self._unread),
        )

    async def find(self, external_id: str) -> Entry | None:
        if self._listed is None:
            self._listed = await asyncio.to_thread(self._list)
        return next((self._entry(file) for file in self._listed if file.external_id == external_id), None)

    def _list(self) -> list[_File]:
        recent = time.time() - SETTLED_SECONDS
        found, self._unread = [], {}
        for path in files(self._folder, self._only, self._is_unread):
            external_id = self._prefix + readable_name(path.relative_to(self._folder).as_posix())
            found.append(_File(external_id, path, None if self._thorough else _version(path, recent)))
        return sorted(found, key=lambda file: file.external_id)

    def _is_unread(self, error: OSError) -> None:
        """Of the folder itself, it ends the listing; of one inside, only what lies in it is not known."""
        place, why = Path(os.fsdecode(error.filename)), error.strerror or type(error).__name__
        if place == self._folder:
            gone = "does not exist on this machine" if error.errno in GONE else f"cannot be read ({why})"
            raise AlmanacError(f"{self._folder} {gone}.")
        if error.errno not in GONE:
            self._unread[self._prefix + readable_name(place.relative_to(self._folder).as_posix()) + "/"] = why

    def _device(self, before: int | None) -> int | None:
        """The file system that the folder is on. Raises AlmanacError for one that is empty since it is on another."""
        device = self._device_of()
        if self._listed or self._only is not None or any(self._folder.iterdir()):
            return device
        if before not in (None, device):
            raise AlmanacError(f"{self._folder} is empty, and on another file system than before; is it mounted?")
        return before

    def _device_of(self) -> int:
        return self._folder.stat().st_dev

    def _failing(self, place: str) -> Entry:
        async def load(_known: str | None) -> Loaded:
            raise DocumentUnreadable(f"the folder cannot be read ({self._unread[place]})")

        return Entry(place, load)

    def _entry(self, file: _File) -> Entry:
        within = None if self._only is not None else self._folder  # who names one file means it, whatever it is

        async def load(_known: str | None) -> Loaded:
            return await asyncio.to_thread(read, file.path, self._max_bytes, within)

        return Entry(file.external_id, load, file.version, url=file.path.as_uri())


def open_folder(setting: Setting) -> Folder:
    return Folder(Path(setting.location), setting.client.max_bytes, thorough=setting.thorough)


def _ignored(_error: OSError) -> None:
    """What cannot be listed is not there."""


def files(folder: Path, only: str | None = None, unread: Callable[[OSError], None] = _ignored) -> Iterator[Path]:
    """Hidden files and folders are left out. Links are followed to files of the folder, not to folders, and not out of
    it: whoever may write into a folder could else have anything read aloud that the worker can read. ``unread`` hears
    of each folder that cannot be listed, or whose files cannot be looked at."""
    if only is not None:
        yield folder / only
        return
    for place, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in IGNORED_FOLDERS]
        try:
            yield from [path for name in names if _is_ours(path := Path(place) / name, folder)]
        except OSError as error:  # its names may be listed, and no more
            unread(OSError(error.errno, error.strerror, place))
            folders.clear()


def _is_ours(path: Path, folder: Path) -> bool:
    return not path.name.startswith(".") and path.is_file() and not (path.is_symlink() and _leads_out(path, folder))


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
        with open(path, "rb", opener=_opener) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise DocumentUnreadable("this is no file, but a pipe or a device")
            if within is not None:
                _check_place(path, within, about)
            if about.st_size > max_bytes:
                limit = max_bytes / 2**20
                raise DocumentUnreadable(
                    f"the file is too large ({about.st_size / 2**20:.1f} MiB; ALMANAC_FILE_MAX_MB is {limit:g})"
                )
            content = file.read(max_bytes + 1)
    except OSError as error:
        kind = DocumentUnreadable if error.errno in REFUSED else Unavailable  # a share that is away comes back
        raise kind(f"the file cannot be read ({error.strerror or type(error).__name__})") from error
    if len(content) > max_bytes:
        raise Unavailable("the file grows while it is read")
    changed = datetime.fromtimestamp(about.st_mtime, UTC)
    return Loaded(readable_name(path.name), content, details=known_of(modified=changed.isoformat()))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # whoever opens a pipe would wait for its writer


def _check_place(path: Path, within: Path, opened: os.stat_result) -> None:
    """The name may have become a link since it was listed: what was opened has to be what lies in the folder."""
    place = path.resolve(strict=True)
    if not place.is_relative_to(within.resolve()) or not os.path.samestat(place.stat(), opened):
        raise DocumentUnreadable("the file is a link that leads out of its folder")
