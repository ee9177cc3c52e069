"""Changing the embedding model while questions go on, and going back; what was embedded is not embedded again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database import documents, runs, vectors
from assistant.database.folders import folder_source
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.errors import AlmanacError, SettingsError
from assistant.knowledge import embedders as knowledge_embedders
from assistant.knowledge import reembedding
from assistant.knowledge.audience import Audience
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem, text_hash
from assistant.knowledge.embedders import Embedders
from assistant.knowledge.embedding import TransformerEmbedder, Vectors
from assistant.knowledge.ranking import DENSE
from assistant.knowledge.search import Searcher
from assistant.services import Services, open_services
from assistant.settings import Settings
from bot.reembedding import app as command
from tests.core.parts import Page, WordEmbedder, shelve
from tests.core.small_model import save_small_model
from workers.execution import execute
from workers.ingestion.pipeline import Ingestion
from workers.ingestion.report import Report

PACKAGED = "all-MiniLM-L6-v2"
PAGES = {
    "deploy.md": ("Deploying", "To roll back a deployment, run `ferry rollback` in the service's folder."),
    "lunch.md": ("Canteen", "Lunch is served from noon until two o'clock on the ground floor."),
    "keys.md": ("Keys", "API keys are rotated every ninety days by the platform team."),
    "alerts.md": ("Alerts", "The database alert fires when replication lags by more than thirty seconds."),
    "holiday.md": ("Holidays", "Employees have twenty-eight days of holiday each year."),
}
QUESTIONS = {
    "How do I roll back a deployment?": "deploy.md",
    "When is lunch served?": "lunch.md",
    "How often are API keys rotated?": "keys.md",
    "When does the database alert fire?": "alerts.md",
}


class Counting(WordEmbedder):
    """Counts what it embeds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.texts: list[str] = []
        self.seconds = seconds

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        await asyncio.sleep(self.seconds)
        return await super().embed(texts)


class Renamed(WordEmbedder):
    """Stands in for the packaged model where only its name and its shape count."""

    name = PACKAGED


def item(name: str, title: str, words: str) -> SourceItem:
    return SourceItem(name, name, f"# {title}\n\n{words}\n".encode(), url=f"https://handbook.example/{name}")


def items(pages: dict[str, tuple[str, str]] = PAGES) -> dict[str, SourceItem]:
    return {name: item(name, *page) for name, page in pages.items()}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        return save_small_model(tmp_path_factory.mktemp("models") / "small-128")


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_embedders, "LOOK_SECONDS", 0.05)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, embedding_threads=1, questions_per_minute=0)


@asynccontextmanager
async def process(settings: Settings, url: str) -> AsyncIterator[Services]:
    """What a bot or a worker has open."""
    async with open_services(settings, url) as services:
        yield services


async def source(sessions: Sessions) -> int:
    async with sessions.begin() as session:
        return (await folder_source(session, "/handbook"))[0]


async def ingest(services: Services, pages: dict[str, SourceItem]) -> Report:
    report = Report()
    ingestion = Ingestion(services.sessions, services.embedder, 100_000)
    await ingestion.ingest_items(await source(services.sessions), pages, report)
    return report


async def reembed(services: Services, folder: Path | None) -> str:
    """Register and build, as `almanac reembed --model` has a worker do."""
    model = await reembedding.register(services.sessions, str(folder) if folder else None, 1)
    async with services.sessions.begin() as session:
        run_id = await runs.create(session, reembedding.RUN, {"model": model.name})
    await execute(services, run_id)
    async with services.sessions() as session:
        run = await runs.find(session, run_id)
    assert run is not None
    assert run.state == "succeeded", run.error
    return model.name


async def ask(services: Services, question: str) -> Answer:
    asked = Question(question, "mia", Audience.everyone(), "terminal", str(uuid.uuid4()))
    async for event in services.answering.ask(asked):
        if isinstance(event, Done):
            return event.answer
    raise AssertionError("no answer")


async def until(condition: object, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_questions_go_on_while_the_model_changes_and_changes_back(
    database_url: str, settings: Settings, small_model: Path
) -> None:
    answers: list[tuple[str, Answer]] = []
    stop = asyncio.Event()

    async def keep_asking(bot: Services) -> None:
        while not stop.is_set():
            for question in QUESTIONS:
                answers.append((question, await ask(bot, question)))
                await asyncio.sleep(0)

    async with process(settings, database_url) as worker, process(settings, database_url) as bot:
        await ingest(worker, items())
        asking = [asyncio.create_task(keep_asking(bot), name=f"asker-{n}") for n in range(2)]
        name = await reembed(worker, small_model)
        assert (name, bot.embedder.name) == ("small-128", PACKAGED)
        await ingest(worker, {"new.md": item("new.md", "Printers", "The printer on floor three takes A3 paper.")})
        phases = []
        for step in (lambda: reembedding.switch(bot.sessions), lambda: reembedding.back(bot.sessions)):
            now = (await step()).name
            await until(lambda now=now: bot.embedder.name == now)
            asked = len(answers)
            await until(lambda asked=asked: len(answers) >= asked + 2 * len(QUESTIONS))
            phases.append(now)
            found = await bot.searcher.search("Which paper does the printer take?", audience=Audience.everyone())
            assert found.hits[0].external_id == "new.md"  # written while both models were there
            assert found.hits[0].vector_rank == 1
        await reembedding.drop(bot.sessions, "small-128")
        asked = len(answers)
        await until(lambda: len(answers) >= asked + len(QUESTIONS))
        stop.set()
        await asyncio.gather(*asking)
    assert phases == ["small-128", PACKAGED]
    assert len(answers) > 30
    for question, answer in answers:
        assert answer.outcome is Outcome.ANSWERED, question
        assert answer.citations[0].external_id == QUESTIONS[question]


async def test_a_restart_takes_the_model_that_is_active_whatever_the_setting_says(
    database_url: str, settings: Settings, small_model: Path, tmp_path: Path
) -> None:
    async with process(settings, database_url) as services:
        await ingest(services, items())
        await reembed(services, small_model)
        await reembedding.switch(services.sessions)
    other = settings.model_copy(update={"embedding_model": str(shutil.copytree(small_model, tmp_path / "third"))})
    for chosen in (settings, other):
        async with process(chosen, database_url) as services:
            assert (services.embedder.name, services.embedder.dimensions) == ("small-128", 128)
            assert (await ask(services, "When is lunch served?")).citations[0].external_id == "lunch.md"


async def test_a_folder_that_moved_is_found_by_the_setting_and_one_that_changed_is_refused(
    database_url: str, settings: Settings, small_model: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(small_model, tmp_path / "a" / "mine")
    async with process(settings.model_copy(update={"embedding_model": str(first)}), database_url) as services:
        await ingest(services, items())
    moved = tmp_path / "b" / "mine"
    shutil.move(first, moved)
    with pytest.raises(SettingsError, match=r"made with the embedding model mine, which is not in .*a/mine"):
        async with process(settings, database_url):
            pass
    elsewhere = settings.model_copy(update={"embedding_model": str(moved)})
    async with process(elsewhere, database_url) as services:
        assert (await ask(services, "When is lunch served?")).outcome is Outcome.ANSWERED
    weights = moved / "2_Dense" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-40_000:] = bytes(40_000)
    weights.write_bytes(bytes(content))
    with pytest.raises(SettingsError, match=r"b/mine is another one than the index was made with"):
        async with process(elsewhere, database_url):
            pass


async def test_a_killed_run_goes_on_and_embeds_nothing_twice(
    database_url: str, sessions: Sessions, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [Page(f"{n}.md", f"Page {n}", tuple(f"Fact {n} {m}." for m in range(100))) for n in range(16)]
    await shelve(sessions, Renamed(), *many)
    model = await reembedding.register(sessions, str(small_model), 1)
    async with sessions.begin() as session:
        run_id = await runs.create(session, reembedding.RUN, {"model": model.name})
    environment = os.environ | {
        "ALMANAC_DATABASE_URL": database_url, "ALMANAC_EMBEDDING_THREADS": "1", "ALMANAC_LEASE_SECONDS": "1",
    }  # fmt: skip

    async def stored() -> int:
        async with sessions() as session:
            return await vectors.count(session, model)

    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "workers", "run", str(run_id), env=environment)
    async with asyncio.timeout(120):
        while not (there := await stored()):
            await asyncio.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    there = await stored()
    assert reembedding.BATCH <= there < 1_600
    async with sessions() as session:
        left = await vectors.count_lacking(session, model)
        before = await ages(session, model)
    assert there + left == 1_600
    with pytest.raises(AlmanacError, match=rf"small-128 still lacks {left} passages"):
        await reembedding.switch(sessions)
    await asyncio.sleep(1.1)  # its lease
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "workers", "run", str(run_id), env=environment)
    assert await worker.wait() == 0
    async with sessions() as session:
        run = await runs.find(session, run_id)
        after = await ages(session, model)
        assert await vectors.count_lacking(session, model) == 0
    assert run is not None
    assert (run.state, run.progress["done"], run.progress["total"]) == ("succeeded", 1_600, 1_600)
    assert before.items() <= after.items()  # the same row versions: none was written again
    assert (await reembedding.switch(sessions)).name == "small-128"


async def ages(session: object, model: vectors.Model) -> dict[uuid.UUID, str]:
    """Which transaction wrote each vector."""
    rows = await session.execute(model.sql("SELECT text_hash, CAST(xmin AS text) FROM @VECTORS"))  # type: ignore[attr-defined]
    return {row[0]: row[1] for row in rows}


async def test_a_document_that_is_on_its_way_when_a_model_comes_gets_its_vectors_too(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is registered after the document was embedded and before it is written."""
    embedder = Counting()
    source_id = await source(sessions)
    real = documents.replace_all
    second: list[vectors.Model] = []

    async def replace_all(session: object, *rest: object) -> None:
        if not second:
            async with sessions.begin() as other:
                second.append(await vectors.add(other, "second", 384, "building"))
        await real(session, *rest)  # type: ignore[arg-type]

    async def embedder_of(given: object, model: vectors.Model) -> Counting:
        return embedder

    monkeypatch.setattr(documents, "replace_all", replace_all)
    monkeypatch.setattr(knowledge_embedders, "embedder_of", embedder_of)
    report = Report()
    await Ingestion(sessions, embedder, 100_000).ingest_items(source_id, items(), report)
    assert (report.added, report.failed) == (len(PAGES), [])
    async with sessions() as session:
        assert await vectors.count_lacking(session, second[0]) == 0
        assert await vectors.count(session, second[0]) == report.chunks


async def test_a_chunk_without_its_vectors_is_not_written(sessions: Sessions) -> None:
    source_id = await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("Old.",)))
    prepared = documents.PreparedDocument(
        SourceItem("a.md", "a.md", b"New."), ParsedDocument("A", ()), [Chunk(0, "New.")]
    )
    with pytest.raises(vectors.VectorsMissing):
        async with sessions.begin() as session:
            await documents.replace(session, source_id, prepared)
    found = await Searcher(sessions, WordEmbedder()).search("old new", audience=Audience.everyone())
    assert [hit.text for hit in found.hits] == ["Old."]


async def test_what_moves_is_renamed_or_comes_back_is_not_embedded_again(sessions: Sessions) -> None:
    embedder = Counting()
    source_id = await source(sessions)

    async def read(pages: dict[str, SourceItem]) -> int:
        before = len(embedder.texts)
        await Ingestion(sessions, embedder, 100_000).ingest_items(source_id, pages, Report())
        return len(embedder.texts) - before

    async def remove(*names: str) -> None:
        async with sessions.begin() as session:
            known = await documents.documents_of(session, source_id)
            await documents.remove(session, [known[name].id for name in names])

    assert await read(items()) == len(PAGES)
    moved = {f"archive/{name}": item(f"archive/{name}", *page) for name, page in PAGES.items()}
    assert await read(moved) == 0
    await remove(*PAGES, *moved)
    assert await read(items()) == 0
    title, words = PAGES["deploy.md"]
    longer = item("deploy.md", title, words + "\n\n## Since when\n\n" + "This has been so since May. " * 12)
    assert await read({"deploy.md": longer}) <= 2
    found = await Searcher(sessions, WordEmbedder()).search("lunch noon", audience=Audience.everyone())
    assert found.hits[0].external_id == "lunch.md"


async def test_what_stands_in_many_documents_is_embedded_once(sessions: Sessions) -> None:
    """Also where the documents are in batches that are embedded at the same time."""
    embedder = Counting(seconds=0.2)
    same = {f"{n}.md": item(f"{n}.md", "Notice", "This page is kept by the platform team.") for n in range(250)}
    report = Report()
    await Ingestion(sessions, embedder, 100_000).ingest_items(await source(sessions), same, report)
    assert (report.added, len(embedder.texts)) == (250, 1)


async def test_vectors_of_nothing_are_kept_for_a_while_and_purged_at_once_when_a_document_is_forgotten(
    sessions: Sessions,
) -> None:
    pages = [Page("a.md", "A", ("Kept.", "Shared.")), Page("b.md", "A", ("Secret.", "Shared."))]
    source_id = await shelve(sessions, WordEmbedder(), *pages)

    async def stored() -> set[uuid.UUID]:
        async with sessions() as session:
            (model,) = await vectors.models(session)
            return set((await session.execute(model.sql("SELECT text_hash FROM @VECTORS"))).scalars())

    kept, shared, secret = (text_hash(f"A\n{words}") for words in ("Kept.", "Shared.", "Secret."))
    assert await stored() == {kept, shared, secret}
    async with sessions.begin() as session:
        known = await documents.documents_of(session, source_id)
        hashes = await vectors.hashes_of(session, [known["b.md"].id])
        await documents.remove(session, [known["b.md"].id])
        await vectors.purge(session, hashes)
    assert await stored() == {kept, shared}
    async with sessions.begin() as session:
        await documents.remove(session, [known["a.md"].id])
        await vectors.sweep(session)
    assert await stored() == {kept, shared}
    await shelve(sessions, WordEmbedder(), Page("c.md", "A", ("Kept.",)))
    async with sessions.begin() as session:
        await vectors.sweep(session, keep_days=0)
    assert await stored() == {kept}
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM idle_vectors"))).scalar_one() == 0


async def test_steps_that_cannot_be_taken_are_refused_in_one_sentence(sessions: Sessions, tmp_path: Path) -> None:
    await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("Text.",)))
    for step, sentence in (
        (reembedding.switch(sessions), "There is no new embedding model"),
        (reembedding.back(sessions), "There is no earlier embedding model"),
        (reembedding.drop(sessions, "words"), "words answers the questions"),
        (reembedding.switch(sessions, "none"), "The index has no embedding model none"),
        (reembedding.register(sessions, str(tmp_path), 1), "holds no model"),
    ):
        with pytest.raises(AlmanacError, match=sentence) as caught:
            await step
        assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AlmanacError, match="cannot be loaded as an embedding model"):
        await reembedding.register(sessions, str(tmp_path), 1)
    with pytest.raises(AlmanacError, match="9000 dimensions; the index can hold up to 4000"):
        async with sessions.begin() as session:
            await vectors.add(session, "wide", 9_000, "building")


async def test_a_model_of_the_same_name_and_other_files_is_refused(
    sessions: Sessions, small_model: Path, tmp_path: Path
) -> None:
    await shelve(sessions, Renamed(), Page("a.md", "A", ("Text.",)))
    first = await reembedding.register(sessions, str(small_model), 1)
    assert await reembedding.register(sessions, str(small_model), 1) == first  # again: the same row
    twin = save_small_model(tmp_path / "small-128", seed=6)
    with pytest.raises(AlmanacError, match="another model called small-128"):
        await reembedding.register(sessions, str(twin), 1)


@pytest.mark.parametrize("rows", [0, 40])
async def test_the_index_finds_what_the_exact_scan_finds(sessions: Sessions, rows: int) -> None:
    pages = [Page(f"{n}.md", f"Page {n}", (f"word{n} alpha", f"word{n} beta")) for n in range(rows)]
    await shelve(sessions, WordEmbedder(), *pages)
    searcher = Searcher(sessions, WordEmbedder(), DENSE)
    exact = await searcher.search("word7 alpha", audience=Audience.everyone())
    async with sessions.begin() as session:
        (model,) = await vectors.models(session)
        await vectors.index(session, model, more_than=1)
        built = (await session.execute(model.sql("SELECT to_regclass('@VECTORS_hnsw') IS NOT NULL"))).scalar_one()
    assert built is (rows > 0)
    assert await searcher.search("word7 alpha", audience=Audience.everyone()) == exact


async def test_vectors_of_any_number_of_dimensions_survive_the_binary_copy(sessions: Sessions) -> None:
    for dimensions in (1, 3, 384, 1024, 4_000):
        rows = np.random.default_rng(dimensions).normal(size=(5, dimensions)).astype(np.float32)
        hashes = [uuid.uuid4() for _ in rows]
        async with sessions.begin() as session:
            model = await vectors.add(session, f"m{dimensions}", dimensions, "building")
            await vectors.write(session, model, hashes, rows)
            await vectors.write(session, model, hashes[:2], np.zeros((2, dimensions), dtype=np.float32))
            found = await session.execute(model.sql("SELECT text_hash, CAST(embedding AS text) FROM @VECTORS"))
            stored = {key: np.array(value[1:-1].split(","), dtype=np.float32) for key, value in found}
        assert set(stored) == set(hashes)
        for key, row in zip(hashes, rows, strict=True):
            assert np.allclose(stored[key], row, rtol=1e-3, atol=1e-6)  # what was there stayed


async def test_a_search_whose_model_is_dropped_goes_on_with_the_next(
    database_url: str, settings: Settings, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot has not looked at the registry since, and has even remembered the table."""
    monkeypatch.setattr(knowledge_embedders, "LOOK_SECONDS", 3_600.0)
    async with process(settings, database_url) as services:
        await ingest(services, items())
        first = await services.searcher.search("lunch", audience=Audience.everyone(), limit=1)
        await reembed(services, small_model)
        await reembedding.switch(services.sessions)
        assert services.embedder.name == PACKAGED
        await reembedding.drop(services.sessions, PACKAGED)
        again = await services.searcher.search("lunch", audience=Audience.everyone(), limit=1)
        assert services.embedder.name == "small-128"
    assert [hit.external_id for hit in first.hits] == [hit.external_id for hit in again.hits] == ["lunch.md"]


async def test_a_model_that_could_not_be_loaded_once_is_tried_again(
    database_url: str, settings: Settings, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch says by a RuntimeError that there is no memory left; a while later there is."""
    failed = 0
    load = TransformerEmbedder.load

    async def short_of_memory(embedder: TransformerEmbedder) -> None:
        nonlocal failed
        if embedder.name == "small-128" and failed < 2:
            failed += 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        await load(embedder)

    async with process(settings, database_url) as services:
        await ingest(services, items())
        await reembed(services, small_model)
        await ask(services, "lunch")
        monkeypatch.setattr(TransformerEmbedder, "load", short_of_memory)
        await reembedding.switch(services.sessions)
        await until(lambda: services.embedder.name == "small-128")
        assert failed == 2


async def test_prompts_of_a_model_go_before_questions_only(tmp_path: Path) -> None:
    folder = save_small_model(tmp_path / "asks", dimensions=64, query_prompt="query: ")
    embedder = TransformerEmbedder(str(folder), threads=1)
    await embedder.load()
    assert embedder.dimensions == 64
    question = await embedder.embed_query("lunch")
    plain, prompted = await embedder.embed(["lunch", "query: lunch"])
    await embedder.close()
    assert float(question @ prompted) > 0.999
    assert float(question @ plain) < 0.99


async def test_an_index_without_documents_follows_the_setting(
    database_url: str, settings: Settings, small_model: Path
) -> None:
    async with process(settings, database_url) as services:
        assert services.embedder.name == PACKAGED
    chosen = settings.model_copy(update={"embedding_model": str(small_model)})
    async with process(chosen, database_url) as services:
        assert services.embedder.name == "small-128"
        async with services.sessions() as session:
            assert [model.name for model in await vectors.models(session)] == ["small-128"]
    embedder = Embedders(services.sessions, None, 1)
    with contextlib.suppress(AlmanacError):
        await embedder.close()


def test_the_command_builds_switches_goes_back_and_drops(
    database_url: str, small_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a terminal of its own, with the worker process that it starts."""

    async def fill() -> None:
        engine = create_engine(database_url)
        await shelve(create_sessions(engine), Renamed(), Page("a.md", "A", ("Text.", "More text.")))
        await engine.dispose()

    asyncio.run(fill())
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setenv("ALMANAC_EMBEDDING_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def states(*arguments: str) -> dict[str, tuple[str, int, int]]:
        done = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        models = orjson.loads(done.stdout)["models"]
        return {model["name"]: (model["state"], model["vectors"], model["lacking"]) for model in models}

    assert states() == {PACKAGED: ("active", 2, 0)}
    assert states("--model", str(small_model)) == {PACKAGED: ("active", 2, 0), "small-128": ("standby", 2, 0)}
    assert states("--switch") == {PACKAGED: ("standby", 2, 0), "small-128": ("active", 2, 0)}
    assert states("--back") == {PACKAGED: ("active", 2, 0), "small-128": ("standby", 2, 0)}
    shown = CliRunner().invoke(command, ["--status"]).stdout
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [[PACKAGED, "active"], ["small-128", "standby"]]
    assert states("--drop", "small-128") == {PACKAGED: ("active", 2, 0)}
    for wrong in (["--back"], ["--switch", "--back"], ["--model", str(tmp_path / "none")], ["--drop", PACKAGED]):
        with pytest.raises(AlmanacError):
            CliRunner().invoke(command, wrong, catch_exceptions=False)
