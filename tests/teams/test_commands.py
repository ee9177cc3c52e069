"""Commands by text and by button, and files: to the caller alone, with their progress and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.tables import Audit, Run, Upload
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from tests.teams.double import TENANT, Fault, TeamsDouble
from tests.teams.parts import (
    AAD,
    CHAT,
    QUESTION,
    Bot,
    ScriptedModel,
    add,
    buttons,
    make_services,
    make_settings,
    mention,
    message,
    press,
    running_bot,
)

THREAD = "19:engineering@thread.tacv2;messageid=1700000000000"
ADMIN = f"teams:{TENANT}:{AAD}"


@pytest.fixture
async def admin(double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder) -> AsyncIterator[Bot]:
    settings = make_settings(double, admins=(ADMIN,), file_max_mb=0.01)
    async with running_bot(make_services(settings, filled, embedder, ScriptedModel()), double) as bot:
        yield bot


async def say_to(bot: Bot, double: TeamsDouble, text: str, count: int = 1) -> dict[str, Any]:
    await bot.deliver(message(double, text))
    await bot.settled(count)
    assert double.violations == []
    return double.messages(CHAT)[-1] if double.messages(CHAT) else {}


@pytest.mark.parametrize("text", ["help", "/help", "HELP"])
async def test_help_lists_what_the_caller_may_do(bot: Bot, double: TeamsDouble, text: str) -> None:
    shown = await say_to(bot, double, text)
    assert "`search WORDS`" in shown["text"]
    assert "`forget DOCUMENT`" not in shown["text"]
    assert await bot.answers() == []


async def test_an_administrator_sees_more(admin: Bot, double: TeamsDouble) -> None:
    assert "`forget DOCUMENT`" in (await say_to(admin, double, "/help"))["text"]


async def test_a_command_that_is_not_allowed_says_why(bot: Bot, double: TeamsDouble) -> None:
    shown = await say_to(bot, double, "/runs")
    assert shown["text"] == say("commands.not_admin", name="runs")


async def test_tables_of_commands_are_cards(admin: Bot, double: TeamsDouble) -> None:
    shown = await say_to(admin, double, "/sources")
    [table] = double.cards(CHAT)
    assert table["attachments"][0]["content"]["body"][0]["type"] == "Table"
    assert "|" not in shown["text"]


async def test_search_shows_passages_with_links(bot: Bot, double: TeamsDouble) -> None:
    shown = await say_to(bot, double, "/search ledger rollback")
    assert "[Ledger runbook](https://wiki.example.com/ledger?a=%281%29)" in shown["text"]


async def test_ask_answers_like_any_question(bot: Bot, double: TeamsDouble) -> None:
    shown = await say_to(bot, double, f"/ask {QUESTION}")
    [answer] = await bot.answers()
    assert answer.question == QUESTION
    assert "on-call engineer" in shown["text"]
    assert len(double.streams) == 1


async def test_in_a_group_a_command_is_answered_to_its_caller_alone(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(mention(double, "/status", THREAD))
    await bot.deliver(mention(double, f"/ask {QUESTION}", THREAD))
    await bot.settled(2)
    assert len(double.whispers(THREAD)) == 2
    assert double.messages(THREAD) == []


async def test_in_a_group_without_targeted_messages_it_says_where_the_reply_is(bot: Bot, double: TeamsDouble) -> None:
    double.targeted_allowed = False
    await bot.deliver(mention(double, "/status", THREAD))
    await bot.settled()
    assert double.texts(THREAD) == [say("teams.private_chat_command", name="Mia")]
    assert len(double.messages("a:chat-with-29:user-1")) == 1


OLD = ("Old page", "https://wiki.example.com/old", "everyone", "Nobody needs this page.")


async def test_a_dangerous_command_asks_once_more_and_runs_once(admin: Bot, double: TeamsDouble) -> None:
    await add(admin.services.sessions, admin.services.embedder, [OLD])
    await say_to(admin, double, "/forget Old page")
    found = buttons(*double.cards(CHAT))
    assert set(found) == {"command", "cancel"}
    assert found["command"]["style"] == "destructive"
    confirmed = press(double, "command", **found["command"]["data"])
    for _ in range(3):
        assert (await admin.deliver(confirmed))[0] == 200
    await admin.settled(2)
    async with admin.services.sessions() as session:
        entries = list((await session.execute(select(Audit).where(Audit.action == "forget"))).scalars())
    assert len(entries) == 1
    assert len(double.messages(CHAT)) == 1


async def test_cancel_does_nothing(admin: Bot, double: TeamsDouble) -> None:
    await add(admin.services.sessions, admin.services.embedder, [OLD])
    await say_to(admin, double, "/forget Old page")
    data = buttons(*double.cards(CHAT))["cancel"]["data"]
    status, body = await admin.deliver(press(double, "cancel", **data))
    assert status == 200
    assert say("teams.confirm_cancelled") in body
    assert len(await admin.events()) == 1
    await say_to(admin, double, "/search nobody needs this page", 2)
    assert "[Old page](https://wiki.example.com/old)" in double.texts(CHAT)[-1]
    await admin.deliver(press(double, "command", **buttons(*double.cards(CHAT))["command"]["data"]))
    await admin.settled(3)


def with_file(double: TeamsDouble, name: str, text: str = "", url: str = "") -> dict[str, Any]:
    content = {"downloadUrl": url or f"{double.url}/files/{name}", "uniqueId": f"id-of-{name}", "fileType": "md"}
    kind = "application/vnd.microsoft.teams.file.download.info"
    attachment = {
        "contentType": kind,
        "name": name,
        "content": content,
        "contentUrl": f"https://x.sharepoint.com/{name}",
    }
    html = {"contentType": "text/html", "content": "<p></p>"}
    return message(double, text, attachments=[attachment, html])


async def finish_runs(bot: Bot) -> None:
    """What a worker would do, as far as the front end sees it."""
    async with asyncio.timeout(60):
        while True:
            async with bot.services.sessions.begin() as session:
                open_runs = [run for run in (await session.execute(select(Run))).scalars() if run.finished_at is None]
                for run in open_runs:
                    result = {"added": 1, "updated": 0, "unchanged": 0, "removed": 0, "failed": []}
                    run.state, run.result, run.finished_at = "succeeded", result, run.created_at
            if open_runs:
                return
            await asyncio.sleep(0.05)


async def test_a_file_is_read_in_when_that_was_asked_for(admin: Bot, double: TeamsDouble) -> None:
    double.stored_files["runbook.md"] = b"# Runbook\n\nCall Ana."
    await admin.deliver(with_file(double, "runbook.md", "ingest this"))
    await finish_runs(admin)
    await admin.settled()
    async with admin.services.sessions() as session:
        upload = (await session.execute(select(Upload).where(Upload.name == "runbook.md"))).scalars().one()
    assert upload.content == b"# Runbook\n\nCall Ana."
    assert upload.external_id == "id-of-runbook.md"
    [shown] = double.texts(CHAT)
    assert shown == say("commands.run_done", added=1, updated=0, unchanged=0, removed=0)


async def test_a_file_without_words_is_offered_first(admin: Bot, double: TeamsDouble) -> None:
    double.stored_files["notes.md"] = b"# Notes"
    await admin.deliver(with_file(double, "notes.md"))
    await admin.settled()
    [shown] = double.cards(CHAT)
    assert shown["summary"] == say("teams.files_offer", names="notes.md")
    yes = buttons(shown)["files"]["data"]
    status, body = await admin.deliver(press(double, "files", **yes))
    assert status == 200
    assert say("teams.files_taking") in body
    await finish_runs(admin)
    await admin.settled(2)
    assert len(double.messages(CHAT)) == 1


@pytest.mark.parametrize(
    "url", ["https://evil.example/x.md", "http://169.254.169.254/latest", "file:///etc/passwd", "https://sharepoint.com.evil.example/x"]
)  # fmt: skip
async def test_a_file_from_another_host_is_not_fetched(admin: Bot, double: TeamsDouble, url: str) -> None:
    await admin.deliver(with_file(double, "x.md", "add this", url))
    await admin.settled()
    [shown] = double.texts(CHAT)
    assert "Missing: that host in ALMANAC_TEAMS_ALLOWED_HOSTS" in shown
    async with admin.services.sessions() as session:
        assert list((await session.execute(select(Upload).where(Upload.name == "x.md"))).scalars()) == []


async def test_a_file_that_is_too_large_or_gone_says_so(admin: Bot, double: TeamsDouble) -> None:
    double.stored_files["big.md"] = b"x" * 20_000
    await admin.deliver(with_file(double, "big.md", "add"))
    await admin.deliver(with_file(double, "gone.md", "add"))
    await admin.settled(2)
    said = "\n".join(double.texts(CHAT))
    assert say("teams.files_too_large", name="big.md", limit="0.01") in said
    assert say("teams.files_unreachable", name="gone.md") in said


async def test_a_file_beside_a_question_does_not_hide_the_question(admin: Bot, double: TeamsDouble) -> None:
    await admin.deliver(with_file(double, "x.md", QUESTION))
    await admin.settled()
    assert "on-call engineer" in double.texts(CHAT)[0]


async def test_a_file_in_a_channel_says_where_to_send_it(bot: Bot, double: TeamsDouble) -> None:
    activity = mention(double, "", THREAD)
    activity["attachments"] = [
        {"contentType": "reference", "name": "a.md", "contentUrl": "https://x.sharepoint.com/a.md"}
    ]
    await bot.deliver(activity)
    await bot.settled()
    assert double.texts(THREAD) == [say("teams.files_group")]


async def test_a_later_attempt_follows_the_work_and_does_not_begin_it_again(admin: Bot, double: TeamsDouble) -> None:
    double.stored_files["twice.md"] = b"# Twice"
    double.faults = [Fault("PUT", status=503)]
    await admin.deliver(with_file(double, "twice.md", "ingest"))
    await finish_runs(admin)
    [event] = await admin.settled()
    assert event.attempts == 2
    async with admin.services.sessions() as session:
        assert len(list((await session.execute(select(Upload).where(Upload.name == "twice.md"))).scalars())) == 1
    assert len(double.messages(CHAT)) == 1
