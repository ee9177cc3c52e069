"""The registry of fine-tuned models: their files behind a URL, their checksums and states in the database.

A version is safetensors, JSON and text, never a pickle. Each file's SHA-256 stands in the database, and in a manifest
beside the files; what does not match is never handed out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import finetuning
from assistant.database.finetuning import Rollback, Version
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.models.storage import Storage, StorageUnavailable, checksum

__all__ = ["NotSafe", "Registry", "Rollback", "StorageUnavailable", "Tampered", "Version"]

WEIGHTS, CONFIG, CARD, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "README.md", "manifest.json"
ALLOWED = (".safetensors", ".json", ".md", ".png", ".svg")
SECONDS = 600.0  # of moving one version


Also = Callable[[AsyncSession], Awaitable[None]]


async def nothing(_session: AsyncSession) -> None:
    """No more than the change itself."""


class Tampered(AlmanacError):
    """A stored adapter is not what was registered; the sentence names the file."""


class NotSafe(AlmanacError):
    """A folder cannot become a version: something is missing in it, or could run code when it is loaded."""


class Registry:
    """``storage_url``: where the files are; any URL that fsspec knows, or a path."""

    def __init__(self, sessions: Sessions, storage_url: str) -> None:
        self._sessions = sessions
        self._storage = Storage(storage_url)

    async def add(
        self,
        folder: Path,
        *,
        base: str,
        kind: str,
        run_id: uuid.UUID | None,
        report: Mapping[str, Any],
        card: str,
        refused: bool = False,
    ) -> Version:
        """Keep what the folder holds as a new version, a candidate (or ``refused``, as the gate said).

        It is listed only when every file lies in its place and was read back. Called again for the same run, it
        returns that run's version. Raises ``NotSafe`` and ``StorageUnavailable``.
        """
        paths = await asyncio.to_thread(checked, folder)
        async with self._sessions.begin() as session:
            name, there = await finetuning.reserve(session, base, kind, run_id)
        if there:
            return await self.get(name)
        about = {"name": name, "base": base, "kind": kind, "run": None if run_id is None else str(run_id)}
        async with asyncio.timeout(SECONDS):
            files, size = await asyncio.to_thread(self._upload, folder, paths, name, card, about)
        async with self._sessions.begin() as session:
            await finetuning.stored(session, name, files, size, report, "refused" if refused else "candidate")
        return await self.get(name)

    async def versions(self, base: str | None = None) -> Sequence[Version]:
        """All of them, the newest first."""
        async with self._sessions() as session:
            return [self._placed(version) for version in await finetuning.listed(session, base)]

    async def get(self, name: str) -> Version:
        """Raises ``NotFound``."""
        async with self._sessions() as session:
            return self._placed(await finetuning.find(session, name))

    async def served(self, base: str | None = None) -> Sequence[Version]:
        """What answers: the promoted version of each base (or of one), and its canary."""
        async with self._sessions() as session:
            return [self._placed(version) for version in await finetuning.listed(session, base, finetuning.SERVED)]

    async def fetch(self, version: Version, into: Path) -> Path:
        """The folder ``into/<name>`` with the version's files, each checked against the database.

        What is there already is checked in the same way, and only fetched again when it does not match. Nothing
        half-fetched is ever seen under that name. Raises ``Tampered`` and ``StorageUnavailable``.
        """
        async with asyncio.timeout(SECONDS):
            return await asyncio.to_thread(self._fetch, version, into)

    async def verify(self, version: Version) -> None:
        """Read all of its files where they are stored; raises ``Tampered``."""
        with tempfile.TemporaryDirectory(prefix="almanac-adapter-") as folder:
            await self.fetch(version, Path(folder))

    async def promote(self, name: str, share: float | None = None, *, also: Also = nothing) -> Version:
        """Let it answer every conversation, or ``share`` of them (above 0, below 1) beside what is in force.

        Its files are read once more first: what could not be served is not promoted. ``also`` is done in the
        transaction of the change, here and below.
        """
        if share is not None and not 0 < share < 1:
            raise AlmanacError("A canary takes a share of the conversations above 0 and below 1.")
        await self.verify(await self.get(name))
        async with self._sessions.begin() as session:
            version = await finetuning.promote(session, name, share)
            await also(session)
        return self._placed(version)

    async def rollback(self, base: str | None = None, *, also: Also = nothing) -> Rollback:
        """Take back the last step: the canary, else the promotion in force. Raises ``NotFound``."""
        async with self._sessions.begin() as session:
            found = await finetuning.rollback(session, base)
            await also(session)
        in_force = None if found.in_force is None else self._placed(found.in_force)
        return Rollback(self._placed(found.withdrawn), in_force)

    async def remove(self, name: str, *, also: Also = nothing) -> Version:
        """Delete a version that answers nothing, with its files. Its name is not given again."""
        async with self._sessions.begin() as session:
            version = await finetuning.withdraw(session, name)
            await also(session)
        await asyncio.to_thread(self._storage.remove, name)
        async with self._sessions.begin() as session:
            await finetuning.forget(session, name)
        return self._placed(version)

    def _placed(self, version: Version) -> Version:
        return replace(version, location=self._storage.location(version.name))

    def _upload(
        self, folder: Path, paths: Sequence[str], name: str, card: str, about: Mapping[str, Any]
    ) -> tuple[dict[str, str], int]:
        """Path -> SHA-256 of what lies there now, and its size in bytes; the manifest is the last to be written."""
        self._storage.remove(name)  # of an attempt that died
        files = {path: checksum(folder / path) for path in paths}
        for path in paths:
            self._storage.upload(folder / path, f"{name}/{path}")
        words = card.replace("{name}", name).encode()
        self._storage.write(f"{name}/{CARD}", words)
        files[CARD] = hashlib.sha256(words).hexdigest()
        for path, expected in files.items():
            if hashlib.sha256(self._storage.read(f"{name}/{path}")).hexdigest() != expected:
                raise Tampered(f"{self._storage.location(name)}/{path} is not what was just written there.")
        self._storage.write(f"{name}/{MANIFEST}", _manifest(about, files))
        return files, sum((folder / path).stat().st_size for path in paths) + len(words)

    def _fetch(self, version: Version, into: Path) -> Path:
        target = into / version.name
        if target.is_dir() and _matches(target, version.files):
            return target
        into.mkdir(parents=True, exist_ok=True)
        new = into / f".{version.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        new.mkdir()
        try:
            self._download(version, new)
            _put(new, target, version.files)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return target

    def _download(self, version: Version, target: Path) -> None:
        place = self._storage.location(version.name)
        there = self._storage.names(version.name)
        for extra in sorted(there - set(version.files) - {MANIFEST}):
            raise Tampered(f"{place}/{extra} is no file of {version.name}; the version is not loaded.")
        for missing in sorted({*version.files, MANIFEST} - there):
            raise Tampered(f"{place}/{missing} is missing; the version is not loaded.")
        if _listed(self._storage.read(f"{version.name}/{MANIFEST}")) != dict(version.files):
            raise Tampered(f"{place}/{MANIFEST} names other checksums than the registry; the version is not loaded.")
        for path, expected in version.files.items():
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            if self._storage.download(f"{version.name}/{path}", copy) != expected:
                raise Tampered(f"{place}/{path} is not the file that was registered; the version is not loaded.")


def checked(folder: Path) -> list[str]:
    """The paths of the files that make a version, sorted; raises ``NotSafe``, naming the first that may not be in."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    paths = [path for path in paths if path not in (CARD, MANIFEST)]  # written by the registry itself
    for path in paths:
        if (folder / path).is_symlink() or Path(path).suffix not in ALLOWED:
            raise NotSafe(f"{path} may not be in an adapter: only safetensors, JSON, text and pictures are kept.")
        if path.endswith(".safetensors"):
            _check_safetensors(folder / path)
    for needed in (WEIGHTS, CONFIG):
        if needed not in paths:
            raise NotSafe(f"{folder} is no adapter: {needed} is missing.")
    return paths


def _check_safetensors(path: Path) -> None:
    """Its header is read, no tensor: a pickle under another name has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            empty = not tensors.keys()
    except (SafetensorError, OSError) as error:
        raise NotSafe(
            f"{path.name} is not in the safetensors format; other formats can run code and are refused."
        ) from error
    if empty:
        raise NotSafe(f"{path.name} holds no tensor.")


def _manifest(about: Mapping[str, Any], files: Mapping[str, str]) -> bytes:
    return json.dumps({**about, "files": dict(sorted(files.items()))}, indent=2).encode() + b"\n"


def _listed(manifest: bytes) -> dict[str, str] | None:
    try:
        files = json.loads(manifest)["files"]
    except (ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


def _matches(folder: Path, files: Mapping[str, str]) -> bool:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return there == set(files) and all(checksum(folder / path) == expected for path, expected in files.items())


def _put(new: Path, target: Path, files: Mapping[str, str]) -> None:
    """Under its name in one step. Another process may have done the same meanwhile; a wrong one makes way."""
    for _ in range(3):
        try:
            new.rename(target)
        except OSError:
            if _matches(target, files):
                return
            shutil.rmtree(target, ignore_errors=True)
        else:
            return
    raise StorageUnavailable(f"{target} cannot be written.")
