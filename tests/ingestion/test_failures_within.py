"""The members of an archive that cannot be read are told like any other failure, and the rest of it is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from assistant.database import failures, sources
from assistant.database.tables import Source
from tests.ingestion.builders import pdf_file, zip_file
from tests.ingestion.source_station import Station
from workers.ingestion.pipeline import Ingestion
from workers.ingestion.report import Report

LOCKED = "the PDF is protected by a password"
GOOD = {"good.md": b"# Good\n\nReadable text of the archive."}
BROKEN = {**GOOD, "inner/b.pdf": pdf_file(password="x"), "deep.zip": zip_file({"c.md": b"Deep text.", "d.docx": b""})}
EXPECTED = {"a.zip!/inner/b.pdf": LOCKED, "a.zip!/deep.zip!/d.docx": "the file is empty"}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.zip").write_bytes(zip_file(BROKEN))
    (docs / "b.md").write_text("# Another\n\nAnother page.")
    return docs


async def told(desk: Station, source: int, **arguments: Any) -> dict[str, str]:
    """What a run says has failed."""
    run = await desk.run(source=source, **arguments)
    assert run.state == "succeeded", run
    assert run.result is not None
    assert run.progress["done"] == run.progress["total"]
    return {failure["path"]: failure["reason"] for failure in run.result["failed"]}


async def kept(desk: Station, source: int) -> dict[str, str]:
    return {name: row.reason for name, row in (await desk.failures(source)).items()}


async def test_a_member_is_told_by_its_name_within_and_again_while_nothing_changes(desk: Station, docs: Path) -> None:
    source = await desk.add("folder", str(docs))
    for _ in range(3):
        assert await told(desk, source) == EXPECTED
        assert await kept(desk, source) == EXPECTED
    assert "Readable text of the archive." in (await desk.held(source))["a.zip"]
    assert "Deep text." in (await desk.held(source))["a.zip"]
    async with desk.sessions() as session:  # what `almanac runs` shows
        shown = {row.external_id: row.reason for row in await failures.failures_listed(session, 10)}
        assert shown == EXPECTED
        assert (await desk.row(source)).failures == 2
    calls = desk.embedder.calls
    assert await told(desk, source, failures="all") == EXPECTED  # `almanac runs retry` reads the archive once more
    assert desk.embedder.calls == calls
    assert {row.attempts for row in (await desk.failures(source)).values()} == {2}


async def test_a_failure_goes_when_its_archive_is_mended(desk: Station, docs: Path) -> None:
    source = await desk.add("folder", str(docs))
    await told(desk, source)
    (docs / "a.zip").write_bytes(zip_file({**BROKEN, "inner/b.pdf": pdf_file()}))
    rest = {name: reason for name, reason in EXPECTED.items() if "deep" in name}
    assert await told(desk, source) == await kept(desk, source) == rest
    (docs / "a.zip").write_bytes(zip_file(GOOD))
    assert await told(desk, source) == await kept(desk, source) == {}


@pytest.mark.parametrize("how", ["deleted", "forgotten"])
async def test_a_failure_goes_with_its_archive(desk: Station, docs: Path, how: str) -> None:
    source = await desk.add("folder", str(docs))
    await told(desk, source)
    if how == "deleted":
        (docs / "a.zip").unlink()
    else:
        async with desk.sessions.begin() as session:
            [document] = await sources.named(session, "a.zip")
            await sources.forget(session, document, "user:a")
        assert await kept(desk, source) == {}
    assert await told(desk, source) == await kept(desk, source) == {}
    assert list(await desk.held(source)) == ["b.md"]


async def test_a_failure_goes_along_with_its_source(desk: Station, docs: Path) -> None:
    """A folder around takes in what the one inside holds, and says the same of it."""
    for folder in (docs, docs.parent):
        report = Report()
        await Ingestion(desk.sessions, desk.embedder, 1_000_000).ingest_path(folder, report)
    inside = {f"docs/{name}": reason for name, reason in EXPECTED.items()}
    assert {failure["path"]: failure["reason"] for failure in report.failed} == inside
    async with desk.sessions() as session:
        [source] = (await session.execute(select(Source.id))).scalars()
    assert await kept(desk, source) == inside
