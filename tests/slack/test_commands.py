"""/almanac: answered to the caller alone, checked, confirmed, followed to its end."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import delete, func, select, update

from assistant.database.session import Sessions
from assistant.database.tables import Answer, Audit, Document, Inbox, Run, Source
from assistant.strings import say
from bot.slack.actions import click_of
from bot.slack.respond import Responder
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, CHANNEL, DM, TEAM, Fault, SlackDouble, send_click, send_form, shown
from tests.slack.web_api import person
from tests.slack.world import QUESTION, Bot, settled, unpooled

ADMIN = f"slack:{TEAM}:{ANNA}"


async def typed(slack: SlackDouble, bot: Bot, text: str, **more: str) -> list[dict[str, object]]:
    """Type a command; what its caller is told."""
    before = len(slack.ephemerals)
    status, _ = await send_form(bot.url, slack.types(text, **more))
    assert status == 200
    await slack.until_ephemeral(before + 1)
    return slack.ephemerals[before:]


async def test_help_lists_every_command_that_works_and_nothing_else(slack: SlackDouble, start_bot: StartBot) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        [reply] = await typed(slack, bot, "help")
        [empty] = await typed(slack, bot, "")
        listed = bot.services.commands.describe(True)
        for command in listed:
            assert f"`{command.usage}`" in shown(reply)
            if command.name != "settings":  # which opens a modal
                [answer] = await typed(slack, bot, command.name)
                assert "There is no command" not in shown(answer)
    assert reply["response_type"] == "ephemeral"
    assert shown(empty) == shown(reply)
    assert slack.visible == []


async def test_what_is_an_administrators_is_refused_to_others_and_not_listed(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    [reply] = await typed(slack, bot, "help")
    assert "sources" not in shown(reply)
    [refusal] = await typed(slack, bot, "sources list")
    assert "Only an administrator" in shown(refusal)


async def test_the_workspaces_own_administrators_count_where_the_settings_say_so(
    slack: SlackDouble, start_bot: StartBot
) -> None:
    slack.people[ANNA] = person(ANNA, "Anna", "anna@example.com", admin=True)
    async with start_bot(slack_workspace_admins=True) as bot:
        [reply] = await typed(slack, bot, "sources list")
    assert "handbook" in shown(reply)
    async with start_bot() as bot:
        [refusal] = await typed(slack, bot, "sources list")
    assert "Only an administrator" in shown(refusal)


async def test_a_command_is_answered_in_the_callers_language(slack: SlackDouble, bot: Bot) -> None:
    slack.people[ANNA] = person(ANNA, "Anna", "anna@example.com", "de-AT")
    [reply] = await typed(slack, bot, "nonsense")
    assert "Den Befehl `nonsense` gibt es nicht" in shown(reply)


async def test_ask_answers_the_asker_alone(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    [reply] = await typed(slack, bot, f"ask {QUESTION}")
    await settled(sessions)
    assert "deployctl rollback payments" in shown(reply)
    assert reply["response_type"] == "ephemeral"
    kinds = [block["type"] for block in reply["blocks"]]
    assert kinds == ["markdown", "context", "actions", "context_actions"]
    assert "Share with everyone" in json.dumps(reply)
    assert slack.visible == []
    async with sessions() as session:
        answer = (await session.execute(select(Answer))).scalar_one()
    assert answer.audience == sorted(["everyone", "user:email:anna@example.com", f"user:slack:{TEAM}:{ANNA}"])


async def test_search_shows_passages_with_their_place(slack: SlackDouble, bot: Bot) -> None:
    [reply] = await typed(slack, bot, "search roll back payments")
    text = json.dumps(reply, ensure_ascii=False)
    assert "Payments runbook › Roll back" in text
    assert "deployctl rollback payments" in text


async def test_a_dangerous_command_asks_once_more_and_is_done_once(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        [question] = await typed(slack, bot, "forget Payments runbook")
        async with sessions() as session:
            assert (await session.execute(select(func.count()).select_from(Document))).scalar_one() == 1
        press = slack.press(question, "command_confirm")
        assert await send_click(bot.url, press) == 200
        assert await send_click(bot.url, press) == 200
        [_, done] = await slack.until_ephemeral(2)
        await settled(sessions)
    assert done["replace_original"] is True
    assert "is gone" in shown(done)
    assert len(slack.ephemerals) == 2
    async with sessions() as session:
        assert (await session.execute(select(func.count()).select_from(Document))).scalar_one() == 0
        audited = (await session.execute(select(Audit.action, Audit.person))).all()
    assert [tuple(row) for row in audited] == [("forget", ADMIN)]


async def test_cancel_changes_nothing(slack: SlackDouble, start_bot: StartBot, sessions: Sessions) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        [question] = await typed(slack, bot, "forget Payments runbook")
        await send_click(bot.url, slack.press(question, "command_cancel"))
        [_, told] = await slack.until_ephemeral(2)
    assert told["replace_original"] is True
    assert shown(told) == "Nothing was changed."
    async with sessions() as session:
        assert (await session.execute(select(func.count()).select_from(Document))).scalar_one() == 1


async def test_somebody_else_may_not_press_the_button(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        [question] = await typed(slack, bot, "forget Payments runbook")
        await send_click(bot.url, slack.press(question, "command_confirm", "U0BEN"))
        [_, told] = await slack.until_ephemeral(2)
    assert "Administrator" in shown(told)
    async with sessions() as session:
        assert (await session.execute(select(func.count()).select_from(Document))).scalar_one() == 1


async def test_long_work_tells_how_it_goes_and_how_it_ended(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Often enough to see every state, however late this machine comes to it; what has not changed is not told again.
    monkeypatch.setattr("bot.slack.commands.PROGRESS_AFTER", tuple(0.05 * n for n in range(1, 2_000)))
    monkeypatch.setattr("assistant.commands.following.POLL_SECONDS", 0.05)
    going, done = "Reading: 3 of 9.", "Done: 1 added, 2 updated, 6 unchanged, 0 removed."

    def told() -> list[str]:
        return [shown(reply) for reply in slack.ephemerals]

    async with start_bot(admins=(ADMIN,)) as bot:
        begun, *_ = await typed(slack, bot, "sources sync 1")
        assert "is being read again" in shown(begun)
        await put_run(sessions, state="running", progress={"done": 3, "total": 9, "failed": 0})
        await slack.wait(lambda: going in told())
        result = {"added": 1, "updated": 2, "unchanged": 6, "removed": 0, "failed": []}
        await put_run(sessions, state="succeeded", result=result, finished_at=func.now())
        await slack.wait(lambda: done in told())
        await settled(sessions)
    # That it waits for its turn is told where somebody looks before it has begun.
    assert [text for text in told() if text != say("commands.run_waiting")] == [shown(begun), going, done]


async def put_run(sessions: Sessions, **values: object) -> None:
    async with sessions.begin() as session:
        await session.execute(update(Run).values(**values))


async def test_after_five_replies_or_half_an_hour_the_end_still_arrives(
    slack: SlackDouble, start_bot: StartBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_bot() as bot:
        await typed(slack, bot, "status")
        form = slack.types("status")
        message = click_of(
            {"user": {"id": ANNA}, "team": {"id": TEAM}, "channel": {"id": CHANNEL},
             "response_url": form["response_url"]}
        )  # fmt: skip
        responder = Responder(place_of(bot), message)
        for number in range(7):
            await responder.say(f"Reply {number}")
        assert [shown(reply) for reply in slack.ephemerals[1:]] == [f"Reply {number}" for number in range(7)]
        assert len(slack.called("chat.postEphemeral")) == 2
        late = Responder(place_of(bot), message, began=0.0)
        await late.say("Half an hour later")
        slack.faults["chat.postEphemeral"].append(Fault(error="not_in_channel"))
        await late.say("To somebody who is not there")
    assert shown(slack.ephemerals[-1]) == "Half an hour later"
    [direct] = slack.visible
    assert direct["channel"] == DM


def place_of(bot: Bot):  # type: ignore[no-untyped-def]
    assert bot.place is not None
    return bot.place


async def test_a_command_that_a_restart_interrupted_is_not_done_twice(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        [question] = await typed(slack, bot, "forget Payments runbook")
        await send_click(bot.url, slack.press(question, "command_confirm"))
        await slack.until_ephemeral(2)
        await settled(sessions)
    async with sessions.begin() as session:  # as if it had died between doing it and saying so
        changed = {"state": "working", "claimed_until": None, "reply": {"began": True, "used": 0}}
        confirmed = Inbox.payload["confirmed"].as_boolean()
        await session.execute(update(Inbox).where(confirmed).values(**changed))
        await session.execute(delete(Audit))
    async with start_bot(admins=(ADMIN,)):
        [_, _, told] = await slack.until_ephemeral(3)
        await settled(sessions)
    assert "interrupted by a restart" in shown(told)
    async with sessions() as session:
        assert (await session.execute(select(Audit))).scalars().all() == []


async def test_a_command_delivered_twice_is_run_once(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    form = slack.types("status")
    await asyncio.gather(*(send_form(bot.url, form) for _ in range(3)))
    await slack.until_ephemeral(1)
    await settled(sessions)
    assert len(slack.ephemerals) == 1


async def test_a_table_of_any_size_is_readable(slack: SlackDouble, start_bot: StartBot, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add_all(
            Source(kind="page", location=f"https://x.example/{n}", name=f"Page | {n} <!channel>") for n in range(230)
        )
    async with start_bot(admins=(ADMIN,)) as bot:
        await typed(slack, bot, "sources list")
        await settled(sessions)
    whole = "\n".join(map(shown, slack.ephemerals))
    assert all(f"Page \\| {n} " in whole for n in range(230))
    assert "<!channel>" not in whole
    assert len(slack.ephemerals) == 3


async def test_a_database_that_is_away_is_said(database_url: str, slack: SlackDouble, bot: Bot) -> None:
    """The command is stored, then the documents' table goes."""
    engine = unpooled(database_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        from sqlalchemy import text

        await connection.execute(text("ALTER TABLE documents RENAME TO documents_away"))
        [reply] = await typed(slack, bot, "status")
        await connection.execute(text("ALTER TABLE documents_away RENAME TO documents"))
    assert "database cannot be reached" in shown(reply)
