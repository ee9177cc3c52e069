"""Sources, runs and forgetting, from chat and from the terminal: the same places, the same rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from assistant.commands import places
from assistant.commands.places import BadPlace
from assistant.database import audit, documents, failures, runs, sources
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.database.tables import Run, Source
from assistant.errors import AlmanacError
from bot.terminal import app
from tests.core.parts import Page, WordEmbedder, shelve
from tests.core.test_commands import Desk

# --- places


@pytest.mark.parametrize(
    ("words", "kind", "location", "name", "minutes"),
    [
        ("https://example.com/guide#part", "page", "https://example.com/guide", "example.com/guide", 60),
        ("<https://example.com/a>", "page", "https://example.com/a", "example.com/a", 60),
        ("/srv/docs", "folder", "/srv/docs", "docs", 15),
        ("folder /srv/my docs every=5", "folder", "/srv/my docs", "my docs", 5),
        ("website https://d.example/x/ every=0", "website", "https://d.example/x/", "d.example/x", 0),
        ("git https://g.example/a/handbook.git branch=main", "git", "https://g.example/a/handbook.git", "handbook", 15),
        ("GitHub https://github.com/acme/ferry.git", "github", "acme/ferry", "acme/ferry", 15),
        ("github acme/ferry parts=docs,issues", "github", "acme/ferry", "acme/ferry", 15),
        ("confluence https://a.atlassian.net/wiki/spaces/X", "confluence", "https://a.atlassian.net/wiki",
         "a.atlassian.net", 60),
        ("sharepoint https://a.sharepoint.com/sites/E/", "sharepoint", "https://a.sharepoint.com/sites/E", "E", 15),
        ("sharepoint user:mia@acme.example", "sharepoint", "user:mia@acme.example", "user:mia@acme.example", 15),
    ],
)  # fmt: skip
def test_places_as_people_write_them(words: str, kind: str, location: str, name: str, minutes: int) -> None:
    place = places.read(words)
    assert (place.kind, place.location, place.name, place.minutes) == (kind, location, name, minutes)


def test_options_are_kept_and_readers_told_apart() -> None:
    place = places.read("git /srv/x.git path=docs include=*.md readers=group:a,user:email:b@c credential=docs")
    assert place.config == {
        "path": "docs", "include": "*.md", "credential": "docs", "readers": ["group:a", "user:email:b@c"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("ftp://example.com/x", "bad_location"),
        ("docs", "bad_location"),
        ("git ext::sh", "bad_place"),
        ("github acme", "bad_place"),
        ("confluence acme", "bad_place"),
        ("website /srv/x", "bad_place"),
        ("sharepoint drive:", "bad_place"),
        ("website https://x.example/ branch=main", "bad_option"),
        ("https://user:pass@x.example/", "secret_in_address"),
        ("git https://token@g.example/x.git", "secret_in_address"),
        ("/srv/docs every=soon", "bad_every"),
    ],
)
def test_what_is_no_place_is_named(words: str, key: str) -> None:
    with pytest.raises(BadPlace) as caught:
        places.read(words)
    assert caught.value.key == key


# --- chat


@pytest.fixture
async def desk(database_url: str, sessions: Sessions) -> Any:
    desk = Desk(database_url, sessions)
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, WordEmbedder.name)
    yield desk
    await desk.services.engine.dispose()


async def test_sources_of_every_kind_are_added_from_chat_and_errors_show(desk: Desk, sessions: Sessions) -> None:
    reply = await desk.say("sources add github acme/ferry parts=issues every=30")
    assert reply.text == "The source **acme/ferry** was added and is being read."
    again = await desk.say("sources add github acme/ferry parts=docs")
    assert again.run_id == reply.run_id  # it has not begun yet: once will do
    async with sessions() as session:
        [row] = await sources.listed(session)
    assert (row.kind, row.config, row.interval_minutes) == ("github", {"parts": "docs"}, 15)
    assert row.next_sync_at is not None
    listed = await desk.say("sources list")
    assert listed.table is not None
    assert len(listed.table.header) == 6
    async with sessions.begin() as session:
        await sources.record_error(session, row.id, "GitHub shows no repository.")
    listed = await desk.say("sources list")
    assert listed.table is not None
    assert (listed.table.header[-1], listed.table.rows[0][-1]) == ("Error", "GitHub shows no repository.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("git /srv/x.git", "ALMANAC_SOURCE_FOLDERS"),  # this machine's own are not everybody's in chat
        ("git https://t0ken@g.example/x.git", "Leave the password out of the address"),
        ("website https://x.example/ colour=red", "`colour` is no option of a website source"),
        ("github acme", "one looks like owner/name"),
    ],
)
async def test_what_cannot_be_added_is_one_sentence_and_kept_nowhere(desk: Desk, words: str, sentence: str) -> None:
    reply = await desk.say(f"sources add {words}")
    assert reply.failed
    assert sentence in reply.text
    assert await desk.count(Source) == 0
    assert "t0ken" not in reply.text


# --- the terminal


class Terminal:
    """``almanac`` with the commands of administration, on this test's database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str) -> Any:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    def database(self, work: Callable[[Sessions], Any]) -> Any:
        async def run() -> Any:
            engine = create_engine(self.url)
            try:
                return await work(create_sessions(engine))
            finally:
                await engine.dispose()

        return asyncio.run(run())


@pytest.fixture
def terminal(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALMANAC_EMBEDDING_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return Terminal(database_url)


def test_a_folder_is_added_read_changed_and_removed(terminal: Terminal, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n\nDeploy with ferry.")
    (docs / "b.md").write_bytes(b" ")
    added = terminal("sources", "add", "docs", "every=30", "--json")
    assert (added["new"], added["added"], added["state"]) == (True, 1, "succeeded")
    [row] = terminal("sources", "list", "--json")["sources"]
    assert (row["kind"], row["documents"], row["failures"], row["interval_minutes"]) == ("folder", 1, 1, 30)
    listed = terminal("runs", "--json")
    assert listed["runs"][0]["state"] == "succeeded"
    [failure] = listed["failures"]
    assert (failure["external_id"], failure["attempts"], failure["reason"]) == ("b.md", 1, "the file is empty")
    assert "b.md" in terminal("runs")
    assert "docs" in terminal("sources", "list")
    with pytest.raises(AlmanacError, match="say so with --yes"):
        terminal("sources", "remove", str(row["id"]))
    queued = terminal("sources", "remove", str(row["id"]), "--yes", "--no-wait", "--json")
    assert queued["state"] == "queued"

    async def recorded(sessions: Sessions) -> list[str]:
        async with sessions() as session:
            return [entry.action for entry in await audit.recent(session)]

    assert terminal.database(recorded) == ["sources remove", "sources add"]


def test_runs_and_failed_documents_are_tried_again(terminal: Terminal) -> None:
    async def prepare(sessions: Sessions) -> str:
        async with sessions.begin() as session:
            source_id, _ = await sources.ensure(session, "folder", "/x", "x", ("everyone",))
            await failures.record_failure(session, source_id, "a.md", None, "away", transient=True)
            run_id = await runs.create(session, "ingest", {"source": source_id})
            await session.execute(update(Run).values(state="failed", error="It broke."))
        return run_id.hex[:8]

    number = terminal.database(prepare)
    assert "It broke." in terminal("runs", "list")
    again = terminal("runs", "retry", number, "--no-wait", "--json")
    assert again["run"].replace("-", "").startswith(number)
    with pytest.raises(AlmanacError, match="has not failed"):
        terminal("runs", "retry", number, "--no-wait")
    with pytest.raises(AlmanacError, match="There is no run zzzz"):
        terminal("runs", "retry", "zzzz", "--no-wait")
    [retried] = terminal("runs", "retry", "--no-wait", "--json")["retried"]

    async def arguments(sessions: Sessions) -> Any:
        async with sessions() as session:
            return (await session.execute(select(Run.arguments).order_by(Run.created_at.desc()))).scalars().first()

    assert terminal.database(arguments) == {"source": retried["source"], "failures": "all"}


def test_a_document_is_forgotten(terminal: Terminal) -> None:
    async def prepare(sessions: Sessions) -> None:
        page = Page("rollback.md", "Rolling back", ("Run ferry rollback.",), url="https://wiki.example/rollback")
        other = Page("other.md", "Rolling back", ("Something else.",))
        await shelve(sessions, WordEmbedder(), page, other)

    terminal.database(prepare)
    with pytest.raises(AlmanacError, match="Several documents go by “rolling back”"):
        terminal("forget", "rolling back", "--yes")
    with pytest.raises(AlmanacError, match="No document goes by “nothing”"):
        terminal("forget", "nothing", "--yes")
    gone = terminal("forget", "https://wiki.example/rollback", "--yes", "--json")
    assert (gone["forgotten"]["external_id"], gone["answers"]) == ("rollback.md", 0)

    async def left(sessions: Sessions) -> list[str]:
        async with sessions() as session:
            [row] = await sources.listed(session)
            return [*(await documents.documents_of(session, row.id)), *(await sources.forgotten(session, row.id))]

    assert terminal.database(left) == ["other.md", "rollback.md"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sources", "add", "nowhere"), "neither an address"),
        (("sources", "add", "/nowhere/at/all"), "is no folder on this machine"),
        (("sources", "sync", "77"), "There is no source 77."),
        (("sources", "remove", "77", "--yes"), "There is no source 77."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(terminal: Terminal, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(AlmanacError) as caught:
        terminal(*arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_command_has_help_with_an_example(terminal: Terminal) -> None:
    for words in (
        ["sources", "list"], ["sources", "add"], ["sources", "sync"], ["sources", "remove"], ["runs"],
        ["runs", "retry"], ["forget"],
    ):  # fmt: skip
        assert "almanac " + " ".join(words) in " ".join(terminal(*words, "--help").split()), words
