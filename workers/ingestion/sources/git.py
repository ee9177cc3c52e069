"""Source: the files of a git repository, by commit. A shallow bare clone is kept; renames keep their document.

Options: ``branch`` (else the remote's own), ``path`` (a folder of it), ``include`` (patterns such as ``docs/*,*.md``),
``url`` (how a file is linked to, with ``{path}``, ``{ref}`` and ``{page}``, its name without an extension).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath
from urllib.parse import quote

from yarl import URL

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.formats import reader_of
from workers.ingestion.sources.git_command import Git
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Setting, known_of, slices

PAGE = 200
FILE_MODES = ("100644", "100755")  # no links, no submodules
_FIELD = re.compile(r"\{(path|ref|page)\}")  # whatever else stands in braces is part of the link
_LINKS = {
    "github.com": "/blob/{ref}/{path}",
    "gitlab.com": "/-/blob/{ref}/{path}",
    "bitbucket.org": "/src/{ref}/{path}",
}


class Repository:
    """Changes are read from the difference of two commits; the first time, and after a lost one, from the whole tree.

    ``prefix`` precedes external ids, so that one source may hold several repositories.
    """

    def __init__(self, git: Git, location: str, options: Mapping[str, str], max_bytes: int, prefix: str = "") -> None:
        self._git = git
        self._location = location
        self._branch = options.get("branch") or ""
        self._path = options.get("path", "").strip("/")
        self._include = tuple(filter(None, options.get("include", "").split(",")))
        self._link = options.get("url") or _link(location)
        self._max_bytes = max_bytes
        self._prefix = prefix
        self._head = ""
        self._listed: list[tuple[str, str]] = []

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        """The cursor: the ``commit`` that the index holds, or where the listing of a commit (``to``) goes on."""
        cursor = cursor or {}
        if "to" in cursor and await self._git.has(cursor["to"]):
            return await self._whole(cursor["to"], int(cursor["start"]))
        self._head = await self._git.fetch(self._branch)
        before = cursor.get("commit")
        if not before or not await self._git.has(before):
            return await self._whole(self._head, 0)
        return await self._between(before, self._head)

    async def find(self, external_id: str) -> Entry | None:
        if not self._head:
            self._head = await self._git.fetch(self._branch)
        path = external_id.removeprefix(self._prefix)
        where = "" if "\\x" in path else path  # a name that is not UTF-8 is not called so in the repository
        found = [file for file in await self._git.tree(self._head, where) if file[0] == path]
        return self._entry(*found[0]) if found else None

    async def _whole(self, commit: str, start: int) -> Changes:
        if not self._listed or start == 0:
            self._listed = [file for file in await self._git.tree(commit, self._path) if self._wanted(file[0])]
        page, more = slices(self._listed, start, PAGE)
        return Changes(
            [self._entry(*file) for file in page],
            cursor={"to": commit, "start": start + PAGE} if more else {"commit": commit},
            more=more,
            whole=True,
            first=start == 0,
            total=len(self._listed),
        )

    async def _between(self, before: str, after: str) -> Changes:
        """One page: a commit's worth of changes; of a rename, the document goes along."""
        entries, gone, moves = [], [], []
        day = await self._git.day(after)
        for change in await self._git.difference(before, after, self._path):
            old, new = change.old, change.new
            if old and new and self._wanted(old) and self._wanted(new):
                moves.append((self._prefix + old, self._prefix + new))
            elif old and self._wanted(old):
                gone.append(self._prefix + old)
            if new and self._wanted(new):
                if change.mode in FILE_MODES:
                    entries.append(self._entry(new, change.blob, day))
                else:  # it has become a link or a submodule
                    gone.append(self._prefix + new)
        return Changes(entries, gone, {"commit": after}, moves=moves)

    def _wanted(self, path: str) -> bool:
        return wanted(path, self._include)

    def _entry(self, path: str, blob: str, day: str = "") -> Entry:
        """``day``: of its change, where a commit has told of it; a clone without its history knows no other."""

        async def load(_known: str | None) -> Loaded:
            content = await self._git.blob(blob, self._max_bytes)
            if content is None:
                raise DocumentUnreadable(f"the file is too large (ALMANAC_FILE_MAX_MB is {self._max_bytes / 2**20:g})")
            return Loaded(PurePosixPath(path).name, content, details=known_of(modified=day))

        ref = quote(self._branch or "HEAD")
        page = quote(PurePosixPath(path).stem)
        known = {"path": quote(path), "ref": ref, "page": page}
        url = _FIELD.sub(lambda found: known[found[1]], self._link) or None
        return Entry(self._prefix + path, load, blob, url=url)


def wanted(path: str, include: Sequence[str]) -> bool:
    """A file that can be read, is not hidden, and fits one of the patterns where there are some."""
    if reader_of(path) is None or any(part.startswith(".") for part in path.split("/")):
        return False
    return not include or any(fnmatch(path, pattern) for pattern in include)


def _link(location: str) -> str:
    """How a file of a well-known host, or of a local repository, is opened."""
    url = URL(location)
    if url.scheme in ("http", "https") and url.host in _LINKS:
        return f"https://{url.host}{url.path.removesuffix('.git').rstrip('/')}{_LINKS[url.host]}"
    return ""


def open_repository(setting: Setting) -> Repository:
    options = {name: str(value) for name, value in setting.config.items()}
    git = Git(setting, setting.location, setting.home / "repository.git")
    return Repository(git, setting.location, options, setting.client.max_bytes)
