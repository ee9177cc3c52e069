"""Folders of files behind any URL that fsspec knows: a path, ``s3://``, ``abfs://``, ``memory://``.

Everything here blocks, and belongs in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from assistant.errors import AlmanacError

BLOCK = 1 << 20
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "gs": "gcsfs"}


class StorageUnavailable(AlmanacError):
    """Where adapters are kept cannot be read or written; the sentence names the place."""


class Storage:
    """``url`` is the folder that all names are relative to; it is made with the first file."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"

    def location(self, name: str) -> str:
        return f"{self.url}/{name}"

    def upload(self, source: Path, name: str) -> None:
        """Write the file under ``name``, over whatever is there."""
        with self._opened(name) as (files, path):
            files.makedirs(files._parent(path), exist_ok=True)
            files.put_file(str(source), path)

    def write(self, name: str, content: bytes) -> None:
        with self._opened(name) as (files, path):
            files.makedirs(files._parent(path), exist_ok=True)
            files.pipe_file(path, content)

    def read(self, name: str) -> bytes:
        """Raises ``FileNotFoundError``, as ``download`` does: that is no failure of the storage."""
        with self._opened(name) as (files, path):
            return bytes(files.cat_file(path))

    def download(self, name: str, target: Path) -> str:
        """Copy a file here; returns the SHA-256 of what arrived."""
        digest = hashlib.sha256()
        with self._opened(name) as (files, path), files.open(path, "rb") as source, target.open("wb") as copy:
            while block := source.read(BLOCK):
                digest.update(block)
                copy.write(block)
        return digest.hexdigest()

    def names(self, folder: str) -> set[str]:
        """The files below the folder, relative to it; none where there is no such folder."""
        with self._opened(folder) as (files, path):
            files.invalidate_cache()
            root = PurePosixPath(files._strip_protocol(path))
            found = files.find(path)
            return {str(PurePosixPath(files._strip_protocol(name)).relative_to(root)) for name in found}

    def remove(self, folder: str) -> None:
        """Remove the folder and all that is in it, if it is there."""
        with self._opened(folder) as (files, path):
            files.invalidate_cache()
            if files.exists(path):
                files.rm(path, recursive=True)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[Any, str]]:
        try:
            yield self._filesystem(name)
        except (FileNotFoundError, AlmanacError):
            raise
        except Exception as error:  # each kind of storage raises errors of its own, many of no common class
            raise StorageUnavailable(f"Adapters in {self.url} cannot be reached ({_reason(error)}).") from error

    def _filesystem(self, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            files, path = url_to_fs(self.location(name))
        except (ImportError, ValueError) as error:  # ValueError: a protocol that fsspec has never heard of
            raise StorageUnavailable(self._needs()) from error
        return files, str(path)

    def _needs(self) -> str:
        protocol = self.url.partition("://")[0]
        package = PACKAGES.get(protocol)
        if package is None:
            return f"ALMANAC_ADAPTERS is {self.url}, and no package for {protocol}:// is installed."
        return f"ALMANAC_ADAPTERS is {self.url}, which needs the package {package}: pip install {package}."


def checksum(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or type(error).__name__
