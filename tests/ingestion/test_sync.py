"""Syncing: incremental, resumed where it stopped, one worker a source, failures tried again, and on time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, text, update

from assistant.database import failures, runs, sightings, sources
from assistant.database.session import Sessions
from assistant.database.tables import Document, DocumentFailure, Run, Sighting, Source
from assistant.errors import AlmanacError, DocumentUnreadable
from assistant.knowledge.documents import SourceItem
from assistant.knowledge.embedding import Vectors
from assistant.queue import QUEUE
from tests.ingestion.source_station import CountingEmbedder, Station, serving, station
from workers import jobs
from workers.execution import execute
from workers.ingestion import pipeline
from workers.ingestion.http import Client, Denied, Unavailable
from workers.ingestion.lease import LeaseLost, RunLease
from workers.ingestion.pipeline import Ingestion, Plan
from workers.ingestion.report import Report
from workers.ingestion.sources import folder
from workers.ingestion.sources.memory import Memory


def library(tmp_path: Path, size: int) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(size):
        (docs / f"{n:04}.md").write_text(f"# Service {n}\n\nStep {n} is done by hand.")
    return docs


async def settled() -> None:
    """Until the files' times are old enough to be trusted."""
    await asyncio.sleep(folder.SETTLED_SECONDS + 0.1)


async def test_what_is_unchanged_is_neither_read_nor_embedded_again(
    desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "PAGE", 100)
    docs = library(tmp_path, 250)
    await settled()
    source = await desk.add("folder", str(docs))
    assert await desk.sync(source) == {"added": 250}
    calls = desk.embedder.calls

    def read(path: Path, max_bytes: int, within: Path | None) -> Any:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(folder, "read", read)
    assert await desk.sync(source) == {"unchanged": 250}
    assert desk.embedder.calls == calls
    monkeypatch.undo()
    (docs / "0007.md").touch()  # the same bytes at another time
    assert await desk.sync(source) == {"unchanged": 250}
    assert desk.embedder.calls == calls


class DyingEmbedder(CountingEmbedder):
    """Ends its run after so many texts, as a worker does that is stopped."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if len(self.texts) >= self.after:
            raise asyncio.CancelledError
        return await super().embed(texts)


async def test_a_run_goes_on_where_it_was(desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "PAGE", 10)
    monkeypatch.setattr(pipeline, "BATCH_CHUNKS", 5)
    docs = library(tmp_path, 60)
    (docs / "0003.md").write_bytes(b" ")
    source = await desk.add("folder", str(docs))
    dying = DyingEmbedder(after=30)
    object.__setattr__(desk.services, "embedder", dying)
    async with desk.sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"source": source})
    with pytest.raises(asyncio.CancelledError):
        await execute(desk.services, run_id)
    async with desk.sessions() as session:
        run = await runs.find(session, run_id)
    assert run is not None
    assert run.checkpoint is not None
    assert (run.state, run.checkpoint["scope"]) == ("queued", 0)
    assert run.checkpoint["cursor"]["after"] >= "0009.md"
    written = len(await desk.held(source))
    assert 10 <= written < 59
    object.__setattr__(desk.services, "embedder", desk.embedder)
    loaded: list[str] = []
    real = folder.read

    def read(path: Path, max_bytes: int, within: Path | None) -> Any:
        loaded.append(path.name)
        return real(path, max_bytes, within)

    monkeypatch.setattr(folder, "read", read)
    run = await desk.work(run_id)
    assert (run.state, run.attempts) == ("succeeded", 2)
    assert min(loaded) > "0009.md"  # pages have ten, and this one was surely done
    assert run.result is not None
    assert (run.progress["done"], run.result["added"] + run.result["unchanged"]) == (60, 59)
    assert [failure["path"] for failure in run.result["failed"]] == ["0003.md"]  # told, though met in the first attempt
    assert len(await desk.held(source)) == 59
    assert len(dying.texts) + len(desk.embedder.texts) <= 59 + 3 * 5  # at most the batches in hand twice
    async with desk.sessions() as session:
        assert (await session.execute(select(Sighting))).first() is None


async def test_a_worker_that_has_lost_its_lease_writes_nothing(desk: Station, tmp_path: Path) -> None:
    source = await desk.add("folder", "/x")
    async with desk.sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"source": source})
        await runs.claim(session, run_id, "another", timedelta(seconds=60))
    lease = RunLease(run_id, "me")
    ingestion = Ingestion(desk.sessions, desk.embedder, 10_000, lease)
    items = {"a.md": SourceItem("a.md", "a.md", b"Deploy.")}
    with pytest.raises(LeaseLost):
        await ingestion.sync(Memory(items), Plan(source), Report())
    assert await desk.held(source) == {}


class SlowEmbedder:
    """Takes a moment, as a model does: time for another worker to begin with the same."""

    def __init__(self, embedder: CountingEmbedder) -> None:
        self._embedder = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        await asyncio.sleep(0.3)
        return await self._embedder.embed(texts)


async def test_two_workers_never_do_the_same_document(
    desk: Station, database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    """Four runs on two sources and two workers: a source is one run's at a time, and each file is embedded once."""
    docs = library(tmp_path, 80)
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.md").write_text("Elsewhere.")
    first, second = await desk.add("folder", str(docs)), await desk.add("folder", str(other))
    async with desk.sessions.begin() as session:
        waiting = [await runs.create(session, "ingest", {"source": one}) for one in (first, second, first, first)]
    async with station(database_url, sessions, tmp_path / "home2") as colleague:
        for worker in (desk, colleague):
            object.__setattr__(worker.services, "embedder", SlowEmbedder(worker.embedder))
        for _ in range(200):
            async with desk.sessions.begin() as session:
                await session.execute(update(Run).where(Run.state == "queued").values(not_before=None))
                found = [await runs.find(session, one) for one in waiting]
            if all(run is not None and run.finished for run in found):
                break
            await asyncio.gather(*(execute(worker.services, one) for one in waiting for worker in (desk, colleague)))
        texts = desk.embedder.texts + colleague.embedder.texts
    assert len(texts) == len(set(texts)) == 81
    assert [run.state for run in found if run is not None] == ["succeeded"] * 4
    assert all(run is not None and run.attempts == 1 for run in found)  # waiting for a source is no attempt
    added = [run.result["added"] for run in found if run is not None and run.result is not None]
    assert (sum(added), max(added)) == (81, 80)  # each document by one run alone


async def test_a_run_on_a_busy_source_waits_and_one_whose_worker_died_does_not_block(desk: Station) -> None:
    source = await desk.add("folder", "/nowhere")
    async with desk.sessions.begin() as session:
        dead = await runs.create(session, "ingest", {"source": source})
        await runs.claim(session, dead, "dead", timedelta(seconds=0.3))
        assert await sources.claim(session, source, dead)
    run = await desk.run(source=source)
    assert (run.state, run.attempts) == ("queued", 0)
    assert run.not_before is not None
    await asyncio.sleep(0.4)
    assert (await desk.run(source=source)).state == "failed"  # /nowhere does not exist, but it was tried


@pytest.mark.parametrize("kind", ["transient", "permanent"])
async def test_transient_failures_wait_ever_longer_and_end(sessions: Sessions, desk: Station, kind: str) -> None:
    source = await desk.add("folder", "/x")
    waits = []
    for _ in range(failures.RETRIES + 1):
        async with sessions.begin() as session:
            await failures.record_failure(session, source, "a", None, "away", transient=kind == "transient")
        row = (await desk.failures(source))["a"]
        waits.append(None if row.next_at is None else (row.next_at - row.failed_at).total_seconds())
    assert row.attempts == failures.RETRIES + 1
    if kind == "permanent":
        assert set(waits) == {None}
    else:
        assert waits[:3] == [60.0, 120.0, 240.0]
        assert waits[-1] is None  # no endless retry
        assert all(wait is not None and wait <= 6 * 3600 for wait in waits[:-1])


class Pool:
    """Remembers which runs were asked for."""

    default_queue_name = QUEUE

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def delete(self, _key: str) -> None:
        """Nothing is kept."""

    async def enqueue_job(self, _job: str, run_id: str, **_: Any) -> None:
        self.asked.append(run_id)


async def test_the_sweep_starts_what_is_due_once(desk: Station, tmp_path: Path) -> None:
    source = await desk.add("folder", str(library(tmp_path, 1)))
    pool = Pool()
    context = {"services": desk.services, "redis": pool}
    await jobs.sweep(context)
    assert pool.asked == []  # its first sync was the one that adding it began
    async with desk.sessions.begin() as session:
        await session.execute(update(Source).values(next_sync_at=text("now() - interval '1 minute'")))
        await failures.record_failure(session, source, "gone.md", None, "away", transient=True)
        await session.execute(update(DocumentFailure).values(next_at=text("now()")))
    await asyncio.gather(jobs.sweep(context), jobs.sweep(context))
    async with desk.sessions() as session:
        found = list((await session.execute(select(Run))).scalars())
    assert sorted(str(run.arguments) for run in found) == sorted(
        [str({"source": source}), str({"source": source, "failures": "due"})]
    )
    row = await desk.row(source)
    assert row.next_sync_at is not None
    for run in found:
        async with desk.sessions.begin() as session:
            await session.execute(update(Run).values(not_before=None))
        assert (await desk.work(run.id)).state == "succeeded"
    assert set(await desk.held(source)) == {"0000.md"}
    assert await desk.failures(source) == {}


async def test_a_source_that_keeps_failing_is_asked_ever_more_rarely(desk: Station) -> None:
    source = await desk.add("folder", "/nowhere")
    gaps = []
    for _ in range(10):
        run = await desk.run(source=source)
        assert run.state == "failed"
        row = await desk.row(source)
        assert row.next_sync_at is not None
        async with desk.sessions() as session:
            now = (await session.execute(text("SELECT now()"))).scalar_one()
        gaps.append(round((row.next_sync_at - now).total_seconds() / 60))
    assert gaps[:3] == [15, 30, 60]
    assert gaps[-1] == 24 * 60
    assert (await desk.row(source)).failed_syncs == 10


async def test_the_attempts_of_one_run_are_one_sync_that_failed(desk: Station) -> None:
    """A server that is away for two minutes must not put off the next sync for hours."""

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "90"})

    async with serving(away) as base:
        source = await desk.add("website", base)
        run = await desk.run(source=source)
        for _ in range(3):
            assert run.state == "queued"
            async with desk.sessions.begin() as session:
                await session.execute(update(Run).values(not_before=None))
            run = await desk.work(run.id)
        row = await desk.row(source)
        assert (row.error, row.failed_syncs) == ("the server answered 503 Service Unavailable", 1)
        assert row.next_sync_at is not None
        async with desk.sessions() as session:
            now = (await session.execute(text("SELECT now()"))).scalar_one()
        assert round((row.next_sync_at - now).total_seconds() / 60) == 15
        await desk.run(source=source)
    assert (await desk.row(source)).failed_syncs == 2


async def test_the_nightly_comparison_finds_and_mends_what_has_drifted(desk: Station, tmp_path: Path) -> None:
    docs = library(tmp_path, 5)
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    async with desk.sessions.begin() as session:  # what only a bug, or somebody in the database, can do
        by_hand = update(Document).where(Document.external_id == "0001.md")
        await session.execute(by_hand.values(readers=["user:email:x@y"]))
        await session.execute(text("UPDATE chunks SET readers = '{user:email:x@y}' WHERE document_id IN "
                                   "(SELECT id FROM documents WHERE external_id = '0001.md')"))  # fmt: skip
        # the same times and size as the file has, but other words
        await session.execute(update(Document).where(Document.external_id == "0002.md").values(content_hash="other"))
    await settled()
    await desk.sync(source)  # learns the times of what has settled
    context = {"services": desk.services, "redis": Pool()}
    await jobs.reconcile(context)
    async with desk.sessions() as session:
        [run] = (await session.execute(select(Run).where(Run.kind == "reconcile"))).scalars()
    await desk.work(run.id)
    assert set((await desk.readers(source)).values()) == {("everyone",)}
    assert (await desk.row(source)).reconciled_at is not None


async def test_sightings_of_runs_that_ended_early_are_cleared(desk: Station) -> None:
    async with desk.sessions.begin() as session:
        going = await runs.create(session, "ingest", {})
        lost = await runs.create(session, "ingest", {})
        await session.execute(update(Run).where(Run.id == lost).values(state="failed"))
        await sightings.see(session, going, ["a"])
        await sightings.see(session, lost, ["a"])
    await jobs.reconcile({"services": desk.services, "redis": Pool()})
    async with desk.sessions() as session:
        assert list((await session.execute(select(Sighting.listing))).scalars()) == [going]


async def test_a_forgotten_document_stays_away_and_counts_nowhere(desk: Station, tmp_path: Path) -> None:
    source = await desk.add("folder", str(library(tmp_path, 3)))
    await desk.sync(source)
    async with desk.sessions.begin() as session:
        [document] = await sources.named(session, "0001.md")
        await sources.forget(session, document, "terminal:mia")
    assert await desk.sync(source) == {"unchanged": 2}
    assert set(await desk.held(source)) == {"0000.md", "0002.md"}


# --- the one HTTP client


async def test_a_credential_does_not_follow_a_redirect_to_another_host() -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text="ok")

    async with serving(elsewhere) as other:

        async def here(request: web.Request) -> web.Response:
            seen.append(request.headers.get("Authorization"))
            raise web.HTTPFound(f"{other}/x" if request.path == "/out" else "/out")

        async with serving(here) as base, Client(("127.0.0.1",), 1000) as client:
            response = await client.request("GET", f"{base}/", {"Authorization": "Bearer s3cret"})
    assert response.body == b"ok"
    assert seen == ["Bearer s3cret", "Bearer s3cret", None]


async def test_a_credential_needs_https_but_where_a_setting_trusts_the_host() -> None:
    async with Client((), 1000, retries=0) as client:
        with pytest.raises(DocumentUnreadable, match="over https only"):
            await client.request("GET", "http://example.com/", {"Authorization": "Bearer x"})


@pytest.mark.parametrize(
    ("status", "headers", "words", "wait"),
    [
        (429, {"Retry-After": "120"}, "429", 120.0),
        (503, {}, "503", None),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "403", 1.0),
        (403, {"Retry-After": "70"}, "403", 70.0),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "429", 0.0),
        (403, {}, "limit of requests", 60.0),
        (423, {}, "423", None),
        (509, {}, "509", None),
    ],
)
async def test_what_passes_is_told_from_what_does_not(
    status: int, headers: dict[str, str], words: str, wait: float | None
) -> None:
    async def limited(_request: web.Request) -> web.Response:
        message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        return web.Response(status=status, headers=headers, text=message)

    async with serving(limited) as base, Client(("127.0.0.1",), 1000, retries=0) as client:
        with pytest.raises(Unavailable, match=words) as caught:
            await client.request("GET", base)
    assert caught.value.retry_after == wait


async def test_a_refusal_is_not_tried_again() -> None:
    asked = []

    async def refusing(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=403)

    async with serving(refusing) as base, Client(("127.0.0.1",), 1000) as client:
        with pytest.raises(Denied) as caught:
            await client.get_json(base)
    assert isinstance(caught.value, AlmanacError)
    assert len(asked) == 1
