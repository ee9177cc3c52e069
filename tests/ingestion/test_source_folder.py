"""A folder as a source, where the disk does not do as it should: what cannot be read is not taken for deleted."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import DocumentUnreadable
from tests.ingestion.source_station import Station
from workers.ingestion.http import Unavailable
from workers.ingestion.sources.folder import Folder, read


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    for name in ("a.md", "secret/b.md", "secret/deep/c.md", "secretly.md"):
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(f"# {name}\n\nThis is {name}.")
    return docs


EVERY = {"a.md", "secret/b.md", "secret/deep/c.md", "secretly.md"}


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, place: Path, number: int = errno.EACCES) -> None:
    """Let a call of the system fail for one place, as for somebody who is not root."""
    real = getattr(os, name)

    def refusing(path: Any = ".", *arguments: Any, **more: Any) -> Any:
        if not isinstance(path, int) and Path(os.fsdecode(path)) == place:
            raise OSError(number, os.strerror(number), os.fsdecode(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, name, refusing)


async def test_a_folder_inside_that_cannot_be_read_keeps_its_documents(
    desk: Station, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await desk.add("folder", str(docs))
    assert await desk.sync(source) == {"added": 4}
    (docs / "secretly.md").unlink()
    with monkeypatch.context() as patch:
        refuse(patch, "scandir", docs / "secret")
        assert await desk.sync(source) == {"unchanged": 1, "removed": 1, "failed": 1}
        assert await desk.sync(source, "reconcile") == {"unchanged": 2, "failed": 2}
    assert set(await desk.held(source)) == EVERY - {"secretly.md"}
    assert {name: row.reason for name, row in (await desk.failures(source)).items()} == {
        "secret/": "the folder cannot be read (Permission denied)"
    }
    (docs / "secret/deep/c.md").unlink()
    assert await desk.sync(source) == {"unchanged": 2, "removed": 1}
    assert await desk.failures(source) == {}


async def test_a_folder_whose_files_cannot_be_looked_at_keeps_its_documents(
    desk: Station, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    with monkeypatch.context() as patch:
        refuse(patch, "stat", docs / "secret/b.md")
        assert await desk.sync(source) == {"unchanged": 2, "failed": 1}
    assert set(await desk.held(source)) == EVERY


async def test_a_folder_that_cannot_be_read_at_all_is_an_error(
    desk: Station, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    with monkeypatch.context() as patch:
        refuse(patch, "scandir", docs, errno.ESTALE)
        run = await desk.run(source=source)
    assert (run.state, run.error) == ("failed", f"{docs} cannot be read (Stale file handle).")
    assert set(await desk.held(source)) == EVERY


async def test_a_share_that_is_not_mounted_is_no_wish_to_delete(
    desk: Station, tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    full = docs.rename(tmp_path / "elsewhere")
    docs.mkdir()
    with monkeypatch.context() as patch:
        elsewhere = docs.stat().st_dev + 1
        patch.setattr(Folder, "_device_of", lambda _folder: elsewhere)
        for kind in ("ingest", "reconcile"):
            run = await desk.run(kind, source=source)
            assert run.error == f"{docs} is empty, and on another file system than before; is it mounted?"
    assert set(await desk.held(source)) == EVERY
    docs.rmdir()
    full.rename(docs)
    assert await desk.sync(source) == {"unchanged": 4}
    for name in EVERY:
        (docs / name).unlink()
    (docs / "secret/deep").rmdir()
    (docs / "secret").rmdir()
    assert await desk.sync(source) == {"removed": 4}  # emptied where it always was


def test_pipes_and_files_without_an_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    for path in (tmp_path / "pipe.md", Path("/dev/zero")):
        with pytest.raises(DocumentUnreadable, match="no file, but a pipe or a device"):
            read(path, 1000)
    (tmp_path / "a.md").write_text("a")
    refuse(monkeypatch, "open", tmp_path / "a.md", errno.EIO)
    with pytest.raises(Unavailable):  # tried again, though its times are the same
        read(tmp_path / "a.md", 1000)
