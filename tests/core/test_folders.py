"""Which source a folder of this machine belongs to: named files stay alone, and what is kept in step stays so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from assistant.database import sources
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.database.tables import Document, Source
from assistant.errors import AlmanacError
from tests.core.test_ingestion import Shelf, counts
from tests.ingestion.source_station import station


@pytest.fixture
def shelf(sessions: Sessions, tmp_path: Path) -> Shelf:
    folder = tmp_path / "home"
    folder.mkdir()
    return Shelf(sessions, folder)


async def held(shelf: Shelf) -> dict[str, list[str]]:
    """Source name -> the ids of its documents."""
    async with shelf.sessions() as session:
        rows = await session.execute(
            select(Source.name, Document.external_id).outerjoin(Document, Document.source_id == Source.id)
        )
        found: dict[str, list[str]] = {}
        for name, external_id in rows:
            found.setdefault(name, []).append(external_id)
    return {name: sorted(ids) for name, ids in found.items()}


async def add(shelf: Shelf, folder: Path, **config: Any) -> int:
    async with shelf.sessions.begin() as session:
        return (await sources.ensure_folder(session, str(folder), config, 15))[0]


async def one(shelf: Shelf, source_id: int) -> sources.SourceRow:
    async with shelf.sessions() as session:
        [row] = await sources.listed(session, source_id)
    return row


async def test_a_named_file_leaves_the_folders_beside_it_alone(shelf: Shelf) -> None:
    shelf.write("handbook/a.md", "Deploy.")
    note = shelf.write("note.md", "Ask Mia.")
    handbook = await add(shelf, shelf.folder / "handbook")
    await shelf.ingest(shelf.folder / "handbook")
    assert counts(await shelf.ingest(note)) == (1, 0, 0, 0, 0)
    assert await held(shelf) == {"handbook": ["a.md"], "home": ["note.md"]}
    assert (await one(shelf, handbook)).interval_minutes == 15


async def test_a_folder_beside_a_named_file_is_a_source_of_its_own(shelf: Shelf) -> None:
    """Else adding the folder would have everything around the file read every quarter of an hour."""
    note = shelf.write("note.md", "Ask Mia.")
    shelf.write("diary.md", "Nobody's business.")
    shelf.write("handbook/a.md", "Deploy.")
    await shelf.ingest(note)
    handbook = await add(shelf, shelf.folder / "handbook")
    row = await one(shelf, handbook)
    assert (row.location, row.interval_minutes) == (str(shelf.folder / "handbook"), 15)
    await shelf.ingest(shelf.folder / "handbook")
    assert await held(shelf) == {"handbook": ["a.md"], "home": ["note.md"]}


async def test_a_folder_read_as_a_whole_takes_in_named_files_and_keeps_the_schedule(shelf: Shelf) -> None:
    note = shelf.write("note.md", "Ask Mia.")
    shelf.write("handbook/a.md", "Deploy.")
    shelf.write("handbook/bad.md", "Wrong.")
    await shelf.ingest(note)
    handbook = await add(shelf, shelf.folder / "handbook")
    await shelf.ingest(shelf.folder / "handbook")
    async with shelf.sessions.begin() as session:
        [bad] = await sources.named(session, "bad.md")
        await sources.forget(session, bad, "user:mia")
    assert counts(await shelf.ingest()) == (0, 0, 2, 0, 0)  # what was forgotten stays forgotten
    assert await held(shelf) == {"home": ["handbook/a.md", "note.md"]}
    async with shelf.sessions() as session:
        [row] = await sources.listed(session)
    assert row.id != handbook
    assert (row.interval_minutes, row.config) == (15, {})
    assert row.next_sync_at is not None


async def test_readers_of_a_folder_hold_for_a_file_of_it_that_is_read_alone(shelf: Shelf) -> None:
    path = shelf.write("a.md", "Deploy.")
    await add(shelf, shelf.folder, readers=["user:email:mia@acme.example"])
    await shelf.ingest(path)
    async with shelf.sessions() as session:
        assert (await session.execute(select(Document.readers))).scalar_one() == ["user:email:mia@acme.example"]


async def test_readers_are_neither_dropped_nor_widened_by_another_folder(shelf: Shelf) -> None:
    shelf.write("secret/a.md", "Deploy.")
    secret = await add(shelf, shelf.folder / "secret", readers=["user:email:mia@acme.example"])
    with pytest.raises(AlmanacError, match=f"readers of its own \\(number {secret}\\)"):
        await shelf.ingest()
    assert set(await held(shelf)) == {"secret"}
    async with shelf.sessions.begin() as session:
        await session.execute(update(Source).where(Source.id == secret).values(config={}))
    await shelf.ingest()
    with pytest.raises(AlmanacError, match="readers"):
        await add(shelf, shelf.folder / "secret", readers=["user:email:tom@acme.example"])


async def test_a_file_of_a_whole_folder_belongs_to_it(shelf: Shelf) -> None:
    path = shelf.write("sub/a.md", "Deploy.")
    await shelf.ingest()
    async with shelf.sessions.begin() as session:
        assert (await folder_source(session, str(path.parent), whole=False))[1] == "sub/"


async def test_a_sync_of_named_files_reads_nothing_beside_them(
    database_url: str, sessions: Sessions, shelf: Shelf
) -> None:
    note = shelf.write("note.md", "Ask Mia.")
    shelf.write("diary.md", "Nobody's business.")
    async with station(database_url, sessions, shelf.folder.parent / "elsewhere") as desk:
        assert (await desk.run(paths=[str(note)])).state == "succeeded"
        async with sessions() as session:
            [row] = await sources.listed(session)
        note.write_text("Ask Tom.")
        for kind in ("ingest", "reconcile"):
            await desk.sync(row.id, kind)
            assert await desk.held(row.id) == {"note.md": "Ask Tom."}
        note.unlink()
        assert await desk.sync(row.id) == {"removed": 1}
