"""Source: a repository on GitHub: its documentation, wiki, issues and discussions.

Files come with git, incrementally by commit; issues by REST and discussions by GraphQL, those that changed since the
last sync. Deleted issues show in the nightly listing of everything. Options: ``parts`` (of docs, wiki, issues,
discussions), ``branch``, ``path``, ``include`` (patterns of the files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from assistant.errors import AlmanacError
from workers.ingestion.sources.git import Repository
from workers.ingestion.sources.git_command import Git
from workers.ingestion.sources.github_api import Api
from workers.ingestion.sources.github_discussions import Discussions
from workers.ingestion.sources.github_issues import Issues
from workers.ingestion.sources.port import Changes, Cursor, Entry, Setting

PARTS = ("docs", "wiki", "issues", "discussions")
DOCUMENTATION = "*.md,*.mdx,*.markdown,*.rst,*.adoc,*.txt,*.html,*.ipynb,*.pdf,*.docx,*README*,*CODEOWNERS*"


class Part(Protocol):
    """One kind of thing that a repository holds; its external ids begin with its name."""

    async def list_changes(self, cursor: Cursor | None) -> Changes: ...

    async def find(self, external_id: str) -> Entry | None: ...


class GitHub:
    """The parts one after the other. A cursor: ``whole`` listing or not, ``at`` which part, each part's own cursor."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._api = Api(setting)
        self._parts: dict[str, Part] | None = None
        self._readers: tuple[str, ...] = ()
        self._groups: dict[str, list[str]] = {}

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        parts = await self._opened()
        if cursor and cursor["at"] == 0 and not cursor["whole"] and cursor["readers"] != list(self._readers):
            cursor = None  # it was made private, or public: that concerns everything that was ever read
        names = list(parts)
        whole = cursor is None or bool(cursor.get("whole"))
        cursors: dict[str, Any] = dict(cursor["parts"]) if cursor else {}
        if cursor and list(cursors) and not whole and set(names) - set(cursors):
            whole, cursor, cursors = True, None, {}  # a part has been added: everything is listed anew
        at = cursor["at"] if cursor else 0
        name = names[min(at, len(names) - 1)]
        changes = await parts[name].list_changes(cursors.get(name))
        if changes.whole and not whole:
            return await self.list_changes(None)  # a part has lost its place
        cursors[name] = changes.cursor
        at = at if changes.more else at + 1
        more = at < len(names)
        kept = {"parts": cursors, "at": at if more else 0, "whole": whole and more, "readers": list(self._readers)}
        return Changes(
            [self._named(entry) for entry in changes.upserts], changes.deletions, kept, more,
            whole=whole, first=whole and cursor is None, moves=changes.moves,
            groups=self._groups,
        )  # fmt: skip

    async def find(self, external_id: str) -> Entry | None:
        part = (await self._opened()).get(external_id.partition("/")[0])
        entry = None if part is None else await part.find(external_id)
        return None if entry is None else self._named(entry)

    def _named(self, entry: Entry) -> Entry:
        return Entry(entry.external_id, entry.load, entry.version, entry.url, self._readers)

    async def _opened(self) -> dict[str, Part]:
        if self._parts is None:
            about = await self._api.get(f"/repos/{self._setting.location}")
            if about is None:
                raise AlmanacError(f"GitHub shows no repository {self._setting.location} to this token.")
            await self._learn_readers(about)
            wanted = str(self._setting.config.get("parts") or ",".join(PARTS)).replace(" ", "").split(",")
            makers: Mapping[str, tuple[bool, Callable[[], Part]]] = {
                "docs": (True, lambda: self._files("docs", about["clone_url"], about)),
                "wiki": (bool(about.get("has_wiki")), lambda: self._files("wiki", _wiki(about["clone_url"]), about)),
                "issues": (bool(about.get("has_issues")), lambda: Issues(self._api, self._setting.location)),
                "discussions": (
                    bool(about.get("has_discussions")), lambda: Discussions(self._api, self._setting.location)
                ),
            }  # fmt: skip
            self._parts = {name: make() for name, (there, make) in makers.items() if there and name in wanted}
            if not self._parts:
                raise AlmanacError(f"{self._setting.location} has none of the parts that were asked for.")
        return self._parts

    async def _learn_readers(self, about: Mapping[str, Any]) -> None:
        """A public repository is everybody's; another one its collaborators'."""
        if not about.get("private"):
            self._readers = ("everyone",)
            return
        group = f"group:github:{self._setting.location.lower()}"
        self._readers = (group,)
        members = []
        async for person in self._api.all(f"/repos/{self._setting.location}/collaborators?per_page=100"):
            members.append(f"user:github:{person['login'].lower()}")
            if person.get("email"):
                members.append(f"user:email:{person['email'].lower()}")
        self._groups = {group: members}

    def _files(self, name: str, clone_url: str, about: Mapping[str, Any]) -> Part:
        if not clone_url.startswith("https://") and self._api.host not in self._setting.client.allowed:
            raise AlmanacError("GitHub named a repository that is not cloned over https.")
        options = {
            key: str(value) for key, value in self._setting.config.items() if key in ("branch", "path", "include")
        }
        page = str(about["html_url"])
        if name == "wiki":
            options, link = {}, f"{page}/wiki/{{page}}"
        else:
            options.setdefault("include", DOCUMENTATION)
            link = f"{page}/blob/{'{ref}' if options.get('branch') else quote(about['default_branch'])}/{{path}}"
        git = Git(self._setting, clone_url, self._setting.home / f"{name}.git", self._api.git_authorization())
        options["url"] = link
        files = Repository(git, clone_url, options, self._setting.client.max_bytes, f"{name}/")
        return files if name == "docs" else Wiki(files, bool(self._api.git_authorization()))


class Wiki:
    """A wiki's repository, which GitHub does not make before the first page is written.

    ``known``: the token is GitHub's own. Whoever comes without one is asked who they are in place of being told that
    there is nothing.
    """

    def __init__(self, files: Repository, known: bool) -> None:
        self._files = files
        self._files = files
        self._none = ("no git repository", "is empty") if known else ("no git repository", "is empty", "not let us in")

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        try:
            return await self._files.list_changes(cursor)
        except AlmanacError as error:
            if not any(words in str(error) for words in self._none):
                raise
            return Changes(cursor={}, whole=cursor != {}, first=cursor != {})  # {}: it was not there the last time

    async def find(self, external_id: str) -> Entry | None:
        return await self._files.find(external_id)


def _wiki(clone_url: str) -> str:
    return f"{clone_url.removesuffix('.git')}.wiki.git"
