"""The git command line, kept on a short lead: no prompts, no hooks, no configuration but ours, and no secret in its
arguments. Host names are resolved and checked by us, and git connects to what was checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from assistant.addresses import Forbidden
from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.credentials import headers_for
from workers.ingestion.guard import Resolver, check
from workers.ingestion.http import Unavailable
from workers.ingestion.sources.port import Setting

SECONDS = 600.0
PASSING = (
    "could not resolve host", "failed to connect", "timed out", "connection reset", "early eof", "rpc failed",
    "error: 429", "error: 500", "error: 502", "error: 503", "error: 504", "unable to access", "hung up",
)  # fmt: skip
DENIED = ("authentication failed", "could not read username", "error: 401", "error: 403", "access denied")


BROKEN = (
    ".lock': file exists", "not a git repository", "bad object", "bad tree object", "is corrupt", "is empty\n",
    "shallow file has changed", "missing blob", "unable to read tree", "bad config",
)  # fmt: skip


class Broken(AlmanacError):
    """Our clone is at fault, not the remote."""


@dataclass(frozen=True, slots=True)
class Change:
    """``old`` and ``new`` path; empty where there was or is none. ``mode`` and ``blob`` are the new file's."""

    old: str
    new: str
    mode: str
    blob: str


class Git:
    """A bare clone in ``folder`` of the repository at ``location``: https, or a path on this machine.

    ``authorization`` opens it; without one, the credential that the source names does.
    """

    def __init__(self, setting: Setting, location: str, folder: Path, authorization: str = "") -> None:
        self._setting = setting
        self._location = location
        self._folder = folder
        self._authorization = authorization

    async def fetch(self, branch: str) -> str:
        """Bring the newest commit of the branch (or of the remote's own) here; returns its hash.

        A clone that a crash left locked or broken would stay so: it is made anew.
        """
        try:
            return await self._fetch(branch)
        except Broken:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            return await self._fetch(branch)

    async def _fetch(self, branch: str) -> str:
        if not await asyncio.to_thread((self._folder / "HEAD").exists):
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            await self._run("init", "--quiet", "--bare", ".")
        reference = f"refs/heads/{branch}" if branch else "HEAD"
        options = await self._connection()
        await self._run(
            *options, "fetch", "--quiet", "--force", "--depth=1", "--no-tags", "--", self._remote(),
            f"+{reference}:refs/almanac/head",
        )  # fmt: skip
        return (await self._run("rev-parse", "refs/almanac/head^{commit}")).decode().strip()

    async def has(self, commit: str) -> bool:
        """Whether the commit and its tree are here."""
        try:
            await self._run("cat-file", "-e", f"{commit}^{{tree}}")
        except AlmanacError:
            return False
        return True

    async def day(self, commit: str) -> str:
        """The day of the commit (ISO), in its committer's time."""
        return (await self._run("show", "--no-patch", "--format=%cs", commit)).decode().strip()

    async def tree(self, commit: str, path: str) -> list[tuple[str, str]]:
        """The files under ``path`` (or the file): path and blob, in git's order."""
        where = ["--", path] if path else []
        out = await self._run("ls-tree", "-r", "-z", "--full-tree", commit, *where)
        found = []
        for line in out.decode("utf-8", "backslashreplace").split("\0"):
            about, _, name = line.partition("\t")
            if about and about.split()[0] in ("100644", "100755"):
                found.append((name, about.split()[2]))
        return found

    async def difference(self, before: str, after: str, path: str) -> list[Change]:
        """What changed under ``path``; a rename is one change with both names."""
        where = ["--", path] if path else []
        out = await self._run(
            "diff-tree", "-r", "-z", "-M60%", "-l5000", "--raw", "--no-commit-id", before, after, *where
        )
        fields = iter(out.decode("utf-8", "backslashreplace").split("\0"))
        changes = []
        for about in fields:
            if not about.startswith(":"):
                continue
            _, mode, _, blob, status = about[1:].split()
            name = next(fields)
            if status[0] in "RC":
                changes.append(Change(name if status[0] == "R" else "", next(fields), mode, blob))
            elif status[0] == "D":
                changes.append(Change(name, "", mode, blob))
            else:
                changes.append(Change("", name, mode, blob))
        return changes

    async def blob(self, blob: str, max_bytes: int) -> bytes | None:
        """A file's bytes; None when they are too many."""
        if int(await self._run("cat-file", "-s", blob)) > max_bytes:
            return None
        return await self._run("cat-file", "blob", blob)

    def _remote(self) -> str:
        return self._location

    async def _connection(self) -> list[str]:
        """Refuse what must not be connected to, and pin what may be: git would resolve the name a second time."""
        url = URL(self._location)
        if url.scheme not in ("http", "https"):
            if not self._location.startswith("/"):
                raise AlmanacError("A git repository is an https address or an absolute path.")
            return []
        allowed = self._setting.client.allowed
        host = url.host or ""
        try:
            check(url, allowed)
            found = await Resolver(allowed).resolve(host, url.port or 443)
        except Forbidden as error:
            raise DocumentUnreadable(str(error)) from None
        except OSError:
            raise Unavailable(f"{host} cannot be resolved") from None
        addresses = ",".join(result["host"] for result in found)
        return ["-c", f"http.curloptResolve={host}:{url.port or 443}:{addresses}", "-c", "http.followRedirects=false"]

    def _environment(self) -> dict[str, str]:
        """Nothing of the machine's git configuration, and the credential where no list of processes shows it."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": "https:http:file",
            "GIT_DIR": str(self._folder),
        }
        pairs = {"core.hooksPath": os.devnull, "gc.autoDetach": "false", "safe.directory": "*"}
        url = URL(self._location)
        if url.scheme in ("http", "https"):
            opens = self._authorization or headers_for(self._setting, self._location).get("Authorization", "")
            if opens:
                if url.scheme == "http" and (url.host or "").lower() not in self._setting.client.allowed:
                    raise AlmanacError("A credential is sent over https only.")
                pairs[f"http.{url.origin()}/.extraHeader"] = f"Authorization: {opens}"
        environment["GIT_CONFIG_COUNT"] = str(len(pairs))
        for place, (name, value) in enumerate(pairs.items()):
            environment |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
        return environment

    async def _run(self, *arguments: str) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                "git", *arguments, cwd=self._folder, env=self._environment(), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise AlmanacError("git is not installed on this machine.") from None
        try:
            out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        except TimeoutError:
            raise Unavailable(f"git did not end within {SECONDS:.0f} seconds") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with what it has started: it leads its session
                await process.wait()
        if process.returncode != 0:
            raise _failure(err.decode("utf-8", "replace"))
        return out


def _failure(words: str) -> AlmanacError:
    """What went wrong, by git's words; they are not repeated, since they may hold the address with what opens it."""
    said = words.lower()
    if any(word in said for word in DENIED):
        return AlmanacError("The git server does not let us in; the credential is missing or lacks a right.")
    if any(word in said for word in BROKEN) and "does not appear to be" not in said:
        return Broken("The local clone of the git repository is broken; the next sync makes it anew.")
    if "couldn't find remote ref" in said:
        return AlmanacError("The git repository has no such branch, or is empty.")
    if "not found" in said or "does not appear to be a git repository" in said or "does not exist" in said:
        return AlmanacError("There is no git repository at this address, or the credential may not see it.")
    if any(word in said for word in PASSING):
        return Unavailable("the git server cannot be reached")
    return AlmanacError("git failed; run it with the same address by hand to see why.")
