"""Confluence Cloud as a source: what there is, who may read it, and what becomes of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from assistant.database import groups
from assistant.database.session import Sessions
from tests.ingestion.double_confluence import TOKEN, Confluence, Page
from tests.ingestion.source_station import Station, serving, station
from workers.ingestion.http import Client

MIA, TOM, SHY = "user:email:mia@acme.example", "user:email:tom@acme.example", "user:confluence:u-shy"


@pytest.fixture
def site() -> Confluence:
    site = Confluence()
    site.add(Page("1", "Start", "<p>Deploy with ferry.</p>", "ENG"))
    site.add(Page("2", "Roll back", "<p>Roll back with barge.</p>", "ENG", parent="1"))
    site.add(Page("3", "News", "<p>A new harbour.</p>", "ENG", kind="blogpost"))
    site.add(Page("4", "On call", "<p>Page Tom at night.</p>", "OPS"))
    site.attachments["att1"] = ("2", "notes.md", b"# Notes\n\nMind the tide.", 1)
    site.attachments["att2"] = ("2", "photo.bin", b"\0", 1)
    return site


@pytest.fixture
async def base(site: Confluence) -> AsyncIterator[str]:
    async with serving(site) as base:
        yield base


@pytest.fixture
async def desk(database_url: str, sessions: Sessions, tmp_path: Path, base: str) -> AsyncIterator[Station]:
    settings = {"confluence_url": base, "confluence_email": "bot@acme.example", "confluence_token": SecretStr(TOKEN)}
    async with station(database_url, sessions, tmp_path, **settings) as desk:
        yield desk


async def test_pages_posts_and_attachments_are_read_once(desk: Station, site: Confluence, base: str) -> None:
    source = await desk.add("confluence", base)
    assert await desk.sync(source) == {"added": 5}
    held = await desk.held(source)
    assert set(held) == {"page/1", "page/2", "blogpost/3", "page/4", "attachment/att1"}
    assert held["page/2"] == "Roll back with barge."
    details = await desk.details(source)
    assert details["page/2"] == {"author": "Mia Marsh", "last_edited_by": "Tom Tide", "updated": "2026-05-04"}
    assert details["attachment/att1"] == {"updated": "2026-05-04"}
    assert (await desk.urls(source))["page/2"] == f"{base}/wiki/spaces/ENG/pages/2"
    site.bodies.clear()
    embedded = len(desk.embedder.texts)
    assert await desk.sync(source) == {"unchanged": 5}
    assert (site.bodies, len(desk.embedder.texts)) == ([], embedded)
    site.pages["2"].version, site.pages["2"].body = 2, "<p>Roll back with a tug.</p>"
    site.attachments["att1"] = ("2", "notes.md", b"# Notes\n\nMind the wind.", 2)
    del site.pages["3"]
    assert await desk.sync(source) == {"updated": 2, "unchanged": 2, "removed": 1}
    assert site.bodies == ["2"]
    held = await desk.held(source)
    assert (held["page/2"], held["attachment/att1"]) == ("Roll back with a tug.", "Mind the wind.")


async def test_a_page_that_moves_to_another_space_stays_one_document(
    desk: Station, site: Confluence, base: str
) -> None:
    source = await desk.add("confluence", base)
    await desk.sync(source)
    ids = await desk.ids(source)
    site.pages["2"].space, site.pages["2"].parent, site.pages["2"].version = "OPS", None, 2
    await desk.sync(source)
    assert await desk.ids(source) == ids
    assert (await desk.urls(source))["page/2"] == f"{base}/wiki/spaces/OPS/pages/2"
    assert (await desk.readers(source))["page/2"] == (
        "user:confluence:u-tom",
        "user:email:tom@acme.example",
    )  # those of its new space


async def test_readers_are_those_of_the_space_within_every_restriction_above(
    desk: Station, site: Confluence, base: str
) -> None:
    source = await desk.add("confluence", base, spaces="ENG")
    assert await desk.sync(source) == {"added": 4}
    assert (await desk.readers(source))["page/2"] == ("group:confluence:g-all",)
    async with desk.sessions() as session:
        assert await groups.groups_of(session, [MIA]) == {"group:confluence:g-all"}
        assert await groups.groups_of(session, [SHY]) == {"group:confluence:g-all"}
    site.pages["1"].groups = ["g-leads"]  # above page 2
    site.pages["2"].users = ["u-mia", "u-tom"]
    embedded = len(desk.embedder.texts)
    assert await desk.sync(source) == {"updated": 3, "unchanged": 1}
    assert len(desk.embedder.texts) == embedded
    readers = await desk.readers(source)
    assert readers["page/1"] == ("user:confluence:u-mia", MIA)
    assert readers["page/2"] == ("user:confluence:u-mia", MIA)  # Tom may read it, but not the page above it
    assert readers["attachment/att1"] == readers["page/2"]
    assert readers["blogpost/3"] == ("group:confluence:g-all",)
    assert "page/2" in await desk.finds("Roll back with barge", MIA)
    assert "page/2" not in await desk.finds("Roll back with barge", TOM, "group:confluence:g-all", "everyone")
    site.members["g-leads"] = []
    await desk.sync(source)
    assert "page/2" not in await desk.finds("Roll back with barge", MIA)


async def test_a_page_that_the_search_does_not_know_yet_is_held_by_every_restriction_above(
    desk: Station, site: Confluence, base: str
) -> None:
    """Confluence's search is behind by seconds or minutes; what is new must not be everybody's for so long."""
    source = await desk.add("confluence", base, spaces="ENG")
    site.pages["1"].groups = ["g-leads"]
    site.add(Page("5", "Payroll", "<p>The payroll runs at night.</p>", "ENG", parent="2"))
    site.unsearched = {"1", "2", "5"}
    await desk.sync(source)
    readers = await desk.readers(source)
    assert readers["page/5"] == readers["page/2"] == readers["page/1"] == ("user:confluence:u-mia", MIA)
    assert "page/5" not in await desk.finds("payroll at night", TOM, "group:confluence:g-all", "everyone")


async def test_what_is_above_a_new_page_beside_pages_is_asked_for(desk: Station, site: Confluence, base: str) -> None:
    source = await desk.add("confluence", base, spaces="ENG")
    site.add(Page("6", "Board", "<p>For the board.</p>", "OPS", users=["u-tom"]))  # stands for a folder with a lock
    site.folders["2"] = ["6"]
    site.unsearched = {"2"}
    await desk.sync(source)
    assert (await desk.readers(source))["page/2"] == ("user:confluence:u-tom", TOM)


async def test_a_lost_right_takes_effect_even_where_the_page_cannot_be_loaded(
    desk: Station, site: Confluence, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", partial(Client, retries=0))
    source = await desk.add("confluence", base)
    await desk.sync(source)
    site.pages["2"].users, site.pages["2"].version = ["u-mia"], 2
    site.faults.add("/pages/2", 500)
    assert await desk.sync(source) == {"unchanged": 3, "failed": 1, "updated": 1}
    assert "page/2" not in await desk.finds("Roll back with barge", "group:confluence:g-all")
    assert "page/2" in await desk.finds("Roll back with barge", MIA)
    assert (await desk.failures(source))["page/2"].transient


async def test_limits_and_failures_are_waited_out(desk: Station, site: Confluence, base: str) -> None:
    site.faults.add("/api/v2/spaces", 429, Retry_After="0")
    site.faults.add("/spaces/11/pages", 503, times=2)
    site.faults.add("/content/search", 502)
    source = await desk.add("confluence", base)
    assert await desk.sync(source) == {"added": 5}


async def test_a_cursor_that_expires_postpones_the_run_and_loses_nothing(
    desk: Station, site: Confluence, base: str
) -> None:
    source = await desk.add("confluence", base)
    await desk.sync(source)
    site.cursors_expire = True
    run = await desk.run(source=source)
    assert (run.state, run.error) == ("queued", "Confluence's listing expired on the way")
    assert len(await desk.held(source)) == 5
    site.cursors_expire = False
    async with desk.sessions.begin() as session:
        await session.execute(text("UPDATE runs SET not_before = now()"))
    assert (await desk.work(run.id)).state == "succeeded"


async def test_a_wrong_token_is_one_sentence_and_removes_nothing(
    database_url: str, sessions: Sessions, tmp_path: Path, desk: Station, base: str
) -> None:
    source = await desk.add("confluence", base)
    await desk.sync(source)
    settings = {"confluence_url": base, "confluence_email": "bot@acme.example", "confluence_token": SecretStr("wrong")}
    async with station(database_url, sessions, tmp_path, **settings) as other:
        run = await other.run(source=source)
        assert run.state == "failed"
        assert run.error == (
            "127.0.0.1 does not let us in (it answered 401); the credential is missing or lacks a right."
        )
    assert len(await desk.held(source)) == 5


async def test_the_token_goes_to_its_own_site_alone_and_is_written_nowhere(
    desk: Station, base: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await desk.sync(await desk.add("confluence", base))
    run = await desk.run(source=await desk.add("confluence", "https://evil.example/wiki"))
    assert run.error == "ALMANAC_CONFLUENCE_TOKEN is for 127.0.0.1, not for evil.example."
    async with desk.sessions() as session:
        tables = (await session.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))).scalars()
        for table in list(tables):
            rows = (await session.execute(text(f'SELECT t::text FROM "{table}" t'))).scalars()
            assert not any(TOKEN in row for row in rows), table
    captured = capfd.readouterr()
    assert TOKEN not in captured.out + captured.err
