"""The commands of the chat platforms: who may do what, what is asked again, what is written down, and what is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from assistant.answering.answer import Answering
from assistant.answering.messages import Done, Question
from assistant.commands import Caller, Reply, UploadedFile
from assistant.commands.commands import _COMMANDS
from assistant.database import answers, audit, documents, runs
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.database.tables import Chunk, Document, Inbox, Run, Source, Term, Upload
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.services import Services
from assistant.settings import Settings
from assistant.strings import LANGUAGES
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve
from workers.execution import execute

ANNA = "slack:T1:U1"
PAGE = Page("rollback.md", "Rolling back", ("Run ferry rollback.", "Then look."), url="https://wiki.example/rollback")


def services(database_url: str, sessions: Sessions, **settings: Any) -> Services:
    configured = Settings(_env_file=None, admins=(ANNA,), **settings)
    engine, embedder, model, metrics = create_engine(database_url), WordEmbedder(), FakeModel(), Metrics()
    searcher = Searcher(sessions, embedder)
    answering = Answering(sessions, searcher, model, metrics, max_chars=200, timeout=20)
    return Services(configured, engine, sessions, embedder, searcher, model, answering, metrics)


class Desk:
    def __init__(self, database_url: str, sessions: Sessions, **settings: Any) -> None:
        self.services = services(database_url, sessions, **settings)
        self.sessions = sessions

    def caller(self, admin: bool = True, **more: Any) -> Caller:
        values = {"place": "channel:slack:T1:C1", "place_name": "#payments", "language": "en", **more}
        return Caller(ANNA, "slack", Audience.person("slack", "T1:U1"), admin, **values)

    async def say(self, text: str, admin: bool = True, confirmed: bool = False, **more: Any) -> Reply:
        return await self.services.commands.run(text, self.caller(admin, **more), confirmed)

    async def work(self, reply: Reply) -> runs.RunRow:
        """Do what the reply says has begun."""
        assert reply.run_id is not None, reply
        await execute(self.services, reply.run_id)
        async with self.sessions() as session:
            run = await runs.find(session, reply.run_id)
        assert run is not None
        return run

    async def count(self, table: Any) -> int:
        async with self.sessions() as session:
            return int((await session.execute(select(func.count()).select_from(table))).scalar_one())

    async def actions(self) -> list[tuple[str, str]]:
        async with self.sessions() as session:
            return [(entry.action, entry.target) for entry in reversed(await audit.recent(session))]


@pytest.fixture
async def desk(database_url: str, sessions: Sessions) -> Any:
    desk = Desk(database_url, sessions)
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, WordEmbedder.name)
    yield desk
    await desk.services.engine.dispose()


async def test_a_search_takes_filters_and_says_them(desk: Desk, sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), PAGE)
    reply = await desk.say("search ferry rollback title:nosuchtitle")
    assert (reply.hits, reply.text) == ((), "Nothing was found with the filters: title nosuchtitle.")
    reply = await desk.say("search ferry rollback after:2000")
    assert reply.hits
    assert "*Filtered: after 2000-01-01*" in reply.text
    for language, said in (("en", "is no date"), ("de", "ist kein Datum"), ("fr", "n'est pas une date")):
        reply = await desk.say("search rollback after:soon", language=language)
        assert reply.failed
        assert said in reply.text
    assert "`source:runbooks`" in (await desk.say("help")).text


async def test_help_lists_what_the_caller_may_use_and_nothing_that_does_not_work(desk: Desk) -> None:
    for_admins, for_all = (await desk.say("help")).text, (await desk.say("", admin=False)).text
    for name, command in _COMMANDS.items():
        assert f"`{command.usage}`" in for_admins
        assert (f"`{command.usage}`" in for_all) is not command.admin
        arguments = {"forget": "no such thing", "ingest": "upload", "ask": "What?", "search": "what"}.get(name, "")
        reply = await desk.say(f"{name} {arguments}")
        assert "There is no command" not in reply.text
    described = [command.name for command in desk.services.commands.describe(admin=False)]
    assert described[:5] == ["help", "ask", "search", "status", "settings"]
    assert not {"sources", "forget", "audit"} & set(described)


async def test_help_is_in_the_callers_language(desk: Desk) -> None:
    texts = {(await desk.say("help", language=language)).text for language in LANGUAGES}
    assert len(texts) == len(LANGUAGES)


@pytest.mark.parametrize("text", ["ingest https://example.com", "sources list", "runs", "forget x", "models", "audit"])
async def test_only_administrators_may(desk: Desk, text: str) -> None:
    reply = await desk.say(text, admin=False)
    assert reply.failed
    assert "Only an administrator may use" in reply.text
    assert await desk.actions() == []
    assert await desk.count(Run) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dance", "There is no command `dance`"),
        ("ask", "`ask QUESTION` needs a question"),
        ("search", "needs words to search for"),
        ("ingest", "needs an address"),
        ("ingest ftp://example.com/x", "neither an address"),
        ("sources add", "needs an address (https://…) or a folder"),
        ("sources add /etc", "ALMANAC_SOURCE_FOLDERS"),
        ("sources sync", "needs the source's number"),
        ("sources sync 77", "There is no source 77"),
        ("sources remove abc", "There is no source abc"),
        ("sources dance", "There is no command `sources dance`"),
        ("runs retry", "needs the run's number"),
        ("runs retry zzzz", "There is no run zzzz"),
        ("forget", "needs a document"),
        ("forget nothing", "No document goes by"),
        (f"search {'x' * 5000}", "The question has 5,000 characters"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(desk: Desk, text: str, words: str) -> None:
    reply = await desk.say(text)
    assert reply.failed
    assert words in reply.text
    assert "\n" not in reply.text
    assert await desk.actions() == []


async def test_words_that_begin_like_a_command_are_a_question(desk: Desk) -> None:
    is_command = desk.services.commands.is_command
    assert [is_command(text) for text in ("help", "status", "/search x", "/sources", "HELP")] == [True] * 5
    assert [is_command(text) for text in ("status of deploy?", "search", "/dance", "", "help me")] == [False] * 5


async def test_asking_and_searching(desk: Desk) -> None:
    await shelve(desk.sessions, WordEmbedder(), PAGE, Page("pay.md", "Pay", ("Secret rollback.",), readers=("user:x",)))
    assert (await desk.say("ask How do I roll back?")).ask == "How do I roll back?"
    found = await desk.say("search ferry rollback")
    assert [hit.external_id for hit in found.hits] == ["rollback.md", "rollback.md"]
    assert (await desk.say("settings")).settings
    assert (await desk.say("ingest upload")).upload


async def test_status_and_models_tell_how_things_stand(desk: Desk) -> None:
    assert "Nothing has been read yet" in (await desk.say("status")).text
    await shelve(desk.sessions, WordEmbedder(), PAGE)
    assert "**1 documents** in 1 sources. The newest was read just now." in (await desk.say("status")).text
    assert "fake-1" in (await desk.say("models")).text


async def test_a_folder_becomes_a_source_and_leaves_again(
    database_url: str, sessions: Sessions, desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nThe ferry rolls back.")
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-nothing")
    allowed = Desk(database_url, sessions, source_folders=(tmp_path,))
    assert (await allowed.say("sources add /etc/passwd")).failed
    assert (await allowed.say(f"sources add {tmp_path}/../etc")).failed
    run = await allowed.work(await allowed.say(f"sources add {tmp_path}/docs"))
    assert (run.state, run.result["added"], len(run.result["failed"])) == ("succeeded", 1, 1)
    listed = await allowed.say("sources list")
    assert listed.table is not None
    [row] = listed.table.rows
    assert row[1:] == ("docs", "folder", "1", "1", "just now")
    (tmp_path / "docs" / "b.md").write_text("# B\n\nAnother.")
    assert (await allowed.work(await allowed.say(f"sources sync {row[0]}"))).result["added"] == 1
    asked = await allowed.say(f"sources remove {row[0]}")
    assert asked.confirm is not None
    assert asked.confirm.command == f"sources remove {row[0]}"
    assert await allowed.count(Document) == 2  # nothing was done yet
    removed = await allowed.work(await allowed.say(asked.confirm.command, confirmed=True))
    assert removed.result["removed"] == 2
    assert [await allowed.count(table) for table in (Source, Document, Chunk)] == [0, 0, 0]
    async with sessions() as session:
        assert (await session.execute(select(func.sum(Term.chunks)))).scalar_one() == 0
    assert [action for action, _ in await allowed.actions()] == ["sources add", "sources sync", "sources remove"]
    await allowed.services.engine.dispose()


async def test_a_forgotten_document_is_gone_from_the_index_the_answers_and_later_syncs(
    database_url: str, sessions: Sessions, desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("# Rolling back\n\nRun ferry rollback to roll back the ferry.")
    (tmp_path / "b.md").write_text("# Other\n\nSomething else entirely.")
    allowed = Desk(database_url, sessions, source_folders=(tmp_path,))
    await allowed.work(await allowed.say(f"sources add {tmp_path}"))
    question = Question("How do I roll back the ferry?", ANNA, Audience.everyone(), "slack", "c")
    [answer] = [event.answer async for event in allowed.services.answering.ask(question) if isinstance(event, Done)]
    assert answer.citations
    asked = await allowed.say("forget rolling BACK")
    assert asked.confirm is not None
    assert await allowed.count(Document) == 2
    gone = await allowed.say(asked.confirm.command, confirmed=True)
    assert "is gone. Answers that lost their words: 1" in gone.text
    async with sessions() as session:
        stored = (await session.execute(select(Document.title))).scalars().all()
        kept = await answers.by_id(session, answer.id)
    assert stored == ["Other"]
    assert kept is not None
    assert (kept.answer.citations, kept.answer.nearest) == ((), ())
    assert "ferry" not in kept.answer.text
    [row] = (await allowed.say("sources list")).table.rows  # type: ignore[union-attr]
    run = await allowed.work(await allowed.say(f"sources sync {row[0]}"))
    assert (run.result["added"], await allowed.count(Document)) == (0, 1)
    async with sessions.begin() as session:  # whoever names the file itself wants it back
        again = await runs.create(session, "ingest", {"paths": [str(tmp_path / "a.md")]})
    await execute(allowed.services, again)
    assert await allowed.count(Document) == 2
    await allowed.services.engine.dispose()


async def test_a_name_that_several_documents_go_by_is_asked_about(desk: Desk) -> None:
    await shelve(desk.sessions, WordEmbedder(), PAGE, Page("old.md", "Rolling back", ("Old.",)))
    reply = await desk.say('forget "Rolling back"')
    assert reply.confirm is None
    assert reply.table is not None
    assert [row[2] for row in reply.table.rows] == ["https://wiki.example/rollback", "old.md"]
    by_number = await desk.say(f"forget {reply.table.rows[1][0]}")
    assert by_number.confirm is not None
    assert (await desk.say("forget https://wiki.example/rollback#part")).confirm is not None


async def test_a_shared_file_is_read_for_those_who_can_read_the_place(desk: Desk) -> None:
    file = UploadedFile("notes.md", b"# Notes\n\nThe ferry is painted green.", "F123", "https://files.example/F123")
    reply = await desk.services.commands.upload(file, desk.caller(admin=False))
    assert await desk.count(Upload) == 1
    run = await desk.work(reply)
    assert (run.state, run.result["added"], await desk.count(Upload)) == ("succeeded", 1, 0)
    search = desk.services.searcher.search
    there = Audience(frozenset({"everyone", "channel:slack:T1:C1"}))
    assert [hit.title for hit in (await search("green ferry", audience=there)).hits] == ["Notes"]
    assert (await search("green ferry", audience=Audience.everyone())).hits == ()
    again = await desk.work(reply)  # a worker that died before it could say so: nothing is done twice
    assert (again.state, await desk.count(Document)) == ("succeeded", 1)
    [(action, target)] = await desk.actions()
    assert (action, target) == ("upload", "notes.md (F123)")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "notes.md is empty"), (b"x" * (2 * 2**20), "notes.md has 2.0 MiB; the limit is 1 MiB")]
)
async def test_a_file_that_cannot_be_taken_is_named(
    database_url: str, sessions: Sessions, content: bytes, words: str
) -> None:
    small = Desk(database_url, sessions, file_max_mb=1)
    reply = await small.services.commands.upload(UploadedFile("notes.md", content, "F1"), small.caller())
    assert reply.failed
    assert words in reply.text
    assert await small.count(Run) == 0
    await small.services.engine.dispose()


async def test_runs_are_listed_and_those_that_failed_tried_again(desk: Desk) -> None:
    assert (await desk.say("runs")).text == "There have been no runs."
    async with desk.sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"paths": ["/no/such/folder"]})
    failed = await desk.work(Reply(run_id=run_id))
    assert failed.state == "failed"
    listed = await desk.say("runs")
    assert listed.table is not None
    [row] = listed.table.rows
    assert (row[0], row[1], row[2]) == (run_id.hex[:8], "reading", "failed")
    assert "/no/such/folder does not exist" in row[6]
    again = await desk.say(f"runs retry {row[0]}")
    assert (again.run_id, again.failed) == (run_id, False)
    assert "has not failed" in (await desk.say(f"runs retry {row[0]}")).text
    assert await desk.actions() == [("runs retry", str(run_id))]
    table = (await desk.say("audit")).table
    assert table is not None
    assert table.rows == (("just now", ANNA, "runs retry", str(run_id)),)


async def test_long_work_is_followed_to_its_end(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nText.")
    (tmp_path / "bad.pdf").write_bytes(b"no pdf")
    async with desk.sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"paths": [str(tmp_path)]})
    working = asyncio.create_task(execute(desk.services, run_id))
    states = [state async for state in desk.services.commands.follow(run_id)]
    await working
    assert states[-1].finished
    assert not any(state.finished for state in states[:-1])
    assert states[-1].text.startswith(
        "Done: 1 added, 0 updated, 0 unchanged, 0 removed; 1 could not be read: bad.pdf: "
    )


async def test_a_database_that_is_away_is_said_and_changes_nothing() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/none")
    settings = Settings(_env_file=None, database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    sessions, model, embedder = create_sessions(engine), FakeModel(), WordEmbedder()
    searcher = Searcher(sessions, embedder)
    answering = Answering(sessions, searcher, model, Metrics(), max_chars=200, timeout=20)
    away = Services(settings, engine, sessions, embedder, searcher, model, answering, Metrics())
    caller = Caller(ANNA, "slack", Audience.everyone(), True, "de", "channel:slack:T1:C1")
    reply = await away.commands.run("status", caller)
    assert reply.failed
    assert reply.text.startswith("Die Datenbank ist gerade nicht erreichbar.")
    await engine.dispose()


async def test_no_command_leaves_an_event_behind(desk: Desk) -> None:
    await desk.say("status")
    assert await desk.count(Inbox) == 0
