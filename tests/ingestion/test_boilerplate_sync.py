"""What stands on many pages is searched once, whatever comes, changes, goes, or dies in between."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from assistant.database import blocks, documents, runs, sources
from assistant.database.session import Sessions
from assistant.database.tables import BlockKey, Document, DocumentAgain, Run
from assistant.knowledge.audience import Audience
from assistant.knowledge.boilerplate import MINIMUM
from assistant.knowledge.documents import SourceItem
from assistant.queue import QUEUE
from tests.ingestion.source_station import CountingEmbedder, Station
from workers import jobs
from workers.ingestion.pipeline import Ingestion, Plan
from workers.ingestion.report import Report
from workers.ingestion.sharing import Sharing
from workers.ingestion.sources.memory import Memory

FOOTER = "Need help? Ask the platform team in #ops during office hours."
HEADER = "This page belongs to the handbook of the platform team and is reviewed once a year."


def write(docs: Path, name: str, *shared: str) -> None:
    docs.mkdir(exist_ok=True)
    body = f"The page of {name} says what {name} does and who owns {name} now."
    (docs / f"{name}.md").write_text("\n\n".join([f"# {name}", body, *shared]))


async def holding(desk: Station, source: int, words: str = FOOTER) -> list[str]:
    """The documents that are searched by these words; asserts that none waits to be prepared again."""
    async with desk.sessions() as session:
        assert (await session.execute(select(func.count()).select_from(DocumentAgain))).scalar_one() == 0
    return [name.removesuffix(".md") for name, text in (await desk.held(source)).items() if words in text]


async def test_a_footer_on_many_pages_is_stored_once_and_cited_where_it_stands(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    for n in range(60):
        write(docs, f"s{n:02}", FOOTER)
    source = await desk.add("folder", str(docs))
    assert await desk.sync(source) == {"added": 60}
    assert len(await desk.held(source)) == 60
    assert await holding(desk, source) == ["s00"]
    result = await desk.services.searcher.search("platform team in #ops office hours", audience=Audience.everyone())
    assert (result.hits[0].external_id, FOOTER in result.hits[0].text) == ("s00.md", True)
    assert sum(FOOTER in hit.text for hit in result.hits) == 1
    calls = desk.embedder.calls
    assert await desk.sync(source) == {"unchanged": 60}
    assert desk.embedder.calls == calls


async def test_the_fourth_copy_makes_it_boilerplate(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    source = await desk.add("folder", str(docs))
    for n in range(MINIMUM - 1):
        write(docs, f"s{n}", FOOTER)
    await desk.sync(source)
    assert await holding(desk, source) == ["s0", "s1", "s2"]
    write(docs, "a", FOOTER)  # before the others by name, behind them by age
    assert await desk.sync(source) == {"added": 1, "unchanged": 3}
    assert await holding(desk, source) == ["s0"]
    (docs / "s0.md").unlink()
    assert await desk.sync(source) == {"removed": 1, "unchanged": 3}
    assert await holding(desk, source) == ["a", "s1", "s2"]  # too few now


async def test_when_its_keeper_goes_the_next_one_keeps_it(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    for n in range(8):
        write(docs, f"s{n}", HEADER, FOOTER)
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    (docs / "s0.md").unlink()
    await desk.sync(source)
    assert await holding(desk, source) == await holding(desk, source, HEADER) == ["s1"]
    write(docs, "s1", HEADER)  # it stays, without its footer
    await desk.sync(source)
    assert (await holding(desk, source), await holding(desk, source, HEADER)) == (["s2"], ["s1"])


class Pool:
    """A queue that loses everything."""

    default_queue_name = QUEUE

    async def enqueue_job(self, *arguments: Any, **options: Any) -> None: ...

    async def delete(self, *keys: str) -> None: ...


async def test_a_forgotten_keeper_hands_it_on_at_the_next_sweep(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    for n in range(6):
        write(docs, f"s{n}", FOOTER)
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    async with desk.sessions.begin() as session:
        [document] = await sources.named(session, "s0.md")
        await sources.forget(session, document, "user:a")

    for _ in range(2):  # the second asks for nothing more
        await jobs.sweep({"services": desk.services, "redis": Pool()})
    async with desk.sessions() as session:
        waiting = (await session.execute(select(Run.id).where(Run.state == "queued"))).scalars().all()
    assert len(waiting) == 1
    assert (await desk.work(waiting[0])).state == "succeeded"
    assert await holding(desk, source) == ["s1"]


async def test_different_readers_share_nothing_and_a_change_of_readers_moves_a_page_over(
    desk: Station, sessions: Sessions
) -> None:
    source = await desk.add("folder", "/nowhere")

    def items(readers: dict[int, str]) -> Memory:
        text = "# {0}\n\nThe page of service {0} says what service {0} does.\n\n" + FOOTER
        return Memory({
            f"s{n}": SourceItem(f"s{n}", f"s{n}.md", text.format(n).encode(), readers=(who,))
            for n, who in readers.items()
        })  # fmt: skip

    who = {n: "user:a" if n < 5 else "user:b" for n in range(8)}
    await Ingestion(sessions, desk.embedder, 100_000).sync(items(who), Plan(source), Report())
    assert await holding(desk, source) == ["s0", "s5", "s6", "s7"]  # three of user:b are no boilerplate
    who[0] = "user:b"  # user:a's keeper leaves: the next one has to keep it, and user:b has four
    report = Report()
    await Ingestion(sessions, desk.embedder, 100_000).sync(items(who), Plan(source), report)
    assert (report.updated, report.unchanged, report.done, report.total) == (1, 7, 8, 8)
    assert await holding(desk, source) == ["s0", "s1"]
    async with sessions() as session:
        row = (await session.execute(select(Document.readers).where(Document.external_id == "s1"))).scalar_one()
    assert row == ["user:a"]


async def test_git_prepares_again_what_no_commit_names(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=docs, check=True, capture_output=True)

    for n in range(6):
        write(docs, f"s{n}", FOOTER)
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "first")
    source = await desk.add("git", str(docs))
    await desk.sync(source)
    assert await holding(desk, source) == ["s0"]
    git("rm", "s0.md")
    git("mv", "s1.md", "z.md")
    git("commit", "-m", "second")
    await desk.sync(source)
    assert await holding(desk, source) == ["z"]  # a renamed document keeps its place
    git("rm", "z.md")
    git("commit", "-m", "third")
    await desk.sync(source)
    assert await holding(desk, source) == ["s2"]


async def test_a_worker_that_dies_in_between_loses_nothing(
    desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended at each call of the model and each mark in turn, the run goes on, and ends where it would have ended."""
    docs = tmp_path / "docs"
    for n in range(6):
        write(docs, f"s{n}", FOOTER)
    source = await desk.add("folder", str(docs))
    await desk.sync(source)
    real_embed, real_marked = CountingEmbedder.embed, blocks.marked
    for attempt, die in enumerate((1, 2, 3, 4, 5)):
        calls = 0

        def count(die: int = die) -> None:
            nonlocal calls
            calls += 1
            if calls == die:
                raise asyncio.CancelledError

        async def embed(self: CountingEmbedder, texts: Any, count: Any = count) -> Any:
            count()
            return await real_embed(self, texts)

        async def marked(*arguments: Any, count: Any = count, **more: Any) -> Any:
            count()
            return await real_marked(*arguments, **more)

        keeper = (await holding(desk, source))[0]
        (docs / f"{keeper}.md").unlink()
        write(docs, f"t{attempt}", FOOTER)
        monkeypatch.setattr(CountingEmbedder, "embed", embed)
        monkeypatch.setattr(blocks, "marked", marked)
        async with desk.sessions.begin() as session:
            run_id = await runs.create(session, "ingest", {"source": source})
        try:
            await desk.work(run_id)
            died = False
        except asyncio.CancelledError:
            died = True
        monkeypatch.undo()
        if died:
            assert (await desk.work(run_id)).state == "succeeded"
        assert died or die > 3
        found = await holding(desk, source)
        assert len(found) == 1
        assert found != [keeper]


async def test_any_history_ends_where_a_fresh_index_would(desk: Station, tmp_path: Path) -> None:
    """Pages come, change and go at random, several at once: each shared text is searched once, or where it stands."""
    generator = random.Random(5)
    docs = tmp_path / "docs"
    docs.mkdir()
    source = await desk.add("folder", str(docs))
    shared = [f"Shared text number {n} that stands on many of these pages." for n in range(3)]
    for _ in range(14):
        for _ in range(generator.randrange(1, 6)):
            name = f"s{generator.randrange(9)}"
            (docs / f"{name}.md").unlink(missing_ok=True)
            if generator.random() < 0.75:
                write(docs, name, *generator.sample(shared, generator.randrange(4)))
        await desk.sync(source)
        for text in shared:
            on = sorted(path.stem for path in docs.iterdir() if text in path.read_text())
            found = await holding(desk, source, text)
            assert len(found) == 1 if len(on) >= MINIMUM else found == on
            assert set(found) <= set(on)
        async with desk.sessions() as session:
            ids = set((await session.execute(select(BlockKey.document_id))).scalars())
            assert ids <= set((await session.execute(select(Document.id))).scalars())


async def test_a_wrong_guess_is_mended(desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a document was prepared without, what is written last is right."""

    async def left_out(
        self: Sharing, external_id: str, document_id: int | None, keys: frozenset[int]
    ) -> frozenset[int]:
        return keys if document_id is None else await real(self, external_id, document_id, keys)

    real = Sharing.left_out
    monkeypatch.setattr(Sharing, "left_out", left_out)
    docs = tmp_path / "docs"
    for n in range(6):
        write(docs, f"s{n}", FOOTER)
    source = await desk.add("folder", str(docs))
    assert await desk.sync(source) == {"added": 6}
    assert await holding(desk, source) == ["s0"]


async def test_a_folder_around_others_shares_with_them(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for part in ("a", "b"):
        for n in range(5):
            write(docs / part, f"{part}{n}", FOOTER)
    for folder in (docs / "a", docs / "b", docs):
        report = Report()
        await Ingestion(desk.sessions, desk.embedder, 100_000).ingest_path(folder, report)
    assert (report.unchanged, report.updated, report.done) == (10, 0, 10)
    async with desk.sessions() as session:
        [source] = set((await session.execute(select(Document.source_id))).scalars())
    assert await holding(desk, source) == ["a/a0"]
    async with desk.sessions.begin() as session:
        await documents.remove(session, list((await session.execute(select(Document.id))).scalars()))
        assert (await session.execute(select(func.count()).select_from(BlockKey))).scalar_one() == 0
