"""Whatever Slack does to a call, people see the answer once."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Inbox
from tests.slack.conftest import StartBot
from tests.slack.double import CHANNEL, Fault, SlackDouble, deliver, send_event, shown
from tests.slack.world import ANSWER, QUESTION, Bot, FakeModel, settled


def long_answer(characters: int) -> str:
    """Prose, code and a table, with a number in each line, so that nothing can be lost unseen."""
    code = ["```python", *(f"step_{n} = deploy({n})  # <- keep & check" for n in range(250)), "```"]
    table = ["| step | what |", "| --- | --- |", *(f"| row-{n} | value {n} |" for n in range(300))]
    head = "\n".join([f"{ANSWER}\n", *code, "", *table, ""])
    prose: list[str] = []
    while len(head) + sum(map(len, prose)) < characters:
        prose.append(f"Paragraph {len(prose)} says what to do when the rollback of the service is slow. " * 3 + "\n\n")
    return head + "\n" + "".join(prose)


LONG = long_answer(40_000)


async def state(sessions: Sessions) -> tuple[str, int]:
    async with sessions() as session:
        row = (await session.execute(select(Inbox.state, Inbox.attempts))).one()
    return row.state, row.attempts


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, retry_after="0.2", error="ratelimited"),
        Fault(error="ratelimited", retry_after="0.2"),
        Fault(status=503, body="<html>upstream</html>"),
        Fault(status=500),
        Fault(error="internal_error"),
        Fault(drop=True),
    ],
    ids=["429", "200-ratelimited", "503-html", "500", "internal_error", "dropped"],
)
async def test_a_call_that_fails_is_made_again_later(
    sessions: Sessions, slack: SlackDouble, bot: Bot, fault: Fault
) -> None:
    slack.faults["chat.postMessage"].append(fault)
    await send_event(bot.url, slack.mention(QUESTION))
    await slack.until(1)
    await settled(sessions)
    assert len(slack.visible) == 1
    limited = fault.retry_after is not None  # nothing was done, so it is done when Slack says
    assert await state(sessions) == ("done", 1 if limited else 2)
    assert len(slack.called("chat.postMessage")) == 2


@pytest.mark.parametrize(
    "fault",
    [Fault(effect_first=True, drop=True), Fault(effect_first=True, status=502, body="<html>bad gateway</html>")],
    ids=["dropped", "502"],
)
async def test_a_message_that_was_taken_before_the_error_is_not_sent_again(
    sessions: Sessions, slack: SlackDouble, bot: Bot, fault: Fault
) -> None:
    slack.page = 1  # it is not on the first page
    slack.faults["chat.postMessage"].append(fault)
    await send_event(bot.url, slack.mention(QUESTION))
    await slack.until(1)
    await settled(sessions)
    assert len(slack.visible) == 1
    assert await state(sessions) == ("done", 2)
    assert len(slack.called("chat.postMessage")) == 1


async def test_a_reply_that_never_comes_has_a_deadline_and_is_looked_up(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.slack.app.CALL_SECONDS", 1.0)
    slack.faults["chat.postMessage"].append(Fault(effect_first=True, delay=30))
    async with start_bot() as bot:
        await send_event(bot.url, slack.direct(QUESTION))
        await settled(sessions)
    assert len(slack.visible) == 1
    assert await state(sessions) == ("done", 2)


async def test_parts_that_are_there_are_not_sent_again(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    slack.faults["chat.postMessage"].extend([Fault(effect_first=True), Fault(status=429, retry_after="0.2")])
    async with start_bot(FakeModel(LONG)) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await settled(sessions)
    parts = [message["metadata"]["event_payload"]["part"] for message in slack.visible]
    assert len(parts) > 3
    assert parts == list(range(len(parts)))


async def test_a_lookup_that_is_limited_waits_too(sessions: Sessions, slack: SlackDouble, bot: Bot) -> None:
    slack.faults["chat.postMessage"].append(Fault(effect_first=True, drop=True))
    slack.faults["conversations.replies"].append(Fault(status=429, retry_after="0.2"))
    await send_event(bot.url, slack.mention(QUESTION))
    await settled(sessions)
    assert len(slack.visible) == 1
    assert await state(sessions) == ("done", 2)


async def test_an_app_that_may_not_read_the_channel_still_answers(
    sessions: Sessions, slack: SlackDouble, bot: Bot
) -> None:
    slack.faults["chat.postMessage"].append(Fault(status=429, retry_after="0.2"))
    slack.faults["conversations.replies"].append(Fault(error="missing_scope"))
    await send_event(bot.url, slack.mention(QUESTION))
    await settled(sessions)
    assert len(slack.visible) == 1


@pytest.mark.parametrize("what", ["archived", "not a member", "deleted", "question deleted"])
async def test_where_nothing_can_be_sent_the_event_is_closed(
    sessions: Sessions, slack: SlackDouble, bot: Bot, what: str
) -> None:
    event = slack.mention(QUESTION)
    if what == "deleted":
        del slack.channels[CHANNEL]
    elif what == "question deleted":
        slack.channels[CHANNEL].messages.clear()
    else:
        slack.channels[CHANNEL].archived = what == "archived"
        slack.channels[CHANNEL].member = what != "not a member"
    await send_event(bot.url, event)
    await settled(sessions)
    assert await state(sessions) == ("done", 1)
    assert slack.visible == []


async def test_a_refused_token_is_tried_again_and_not_forgotten(
    sessions: Sessions, slack: SlackDouble, bot: Bot
) -> None:
    slack.faults["chat.postMessage"].append(Fault(error="invalid_auth"))
    await send_event(bot.url, slack.mention(QUESTION))
    await slack.until(1)
    await settled(sessions)
    assert await state(sessions) == ("done", 2)


@pytest.mark.parametrize("kind", ["markdown", "context_actions"])
async def test_where_a_kind_of_block_is_not_known_the_answer_comes_as_text(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot, kind: str
) -> None:
    slack.unsupported_blocks.add(kind)
    async with start_bot(FakeModel(LONG)) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await settled(sessions)
    whole = "\n".join(shown(message) for message in slack.visible)
    for found in ("step_249 = deploy(249)", "| row-299 | value 299 |"):
        assert found in whole
    assert "Payments runbook" in json.dumps(slack.visible[-1])
    numbers = [message["metadata"]["event_payload"]["part"] for message in slack.visible]
    assert numbers == list(range(len(numbers)))


async def test_a_sign_that_fails_or_hangs_delays_nothing(slack: SlackDouble, start_bot: StartBot) -> None:
    slack.faults["assistant.threads.setStatus"].append(Fault(delay=30, error="missing_scope"))
    async with start_bot(FakeModel(hangs=True), question_timeout=1.2) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await slack.until(1, seconds=3)
    assert len(slack.called("assistant.threads.setStatus")) == 1
    assert slack.statuses == []


async def test_an_answer_of_40_000_characters_arrives_whole_and_in_order(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    async with start_bot(FakeModel(LONG)) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await settled(sessions)
    messages = slack.visible
    assert len(messages) >= 4
    assert len({message["thread_ts"] for message in messages}) == 1
    pieces = [block["text"] for message in messages for block in message["blocks"] if block["type"] == "markdown"]
    for piece in pieces:
        assert piece.count("```") % 2 == 0
        assert ("```python" in piece) == ("step_" in piece)
    whole = "\n".join(pieces)
    for pattern, count in ((r"step_(\d+) = deploy\(\1\)", 250), (r"\| row-(\d+) \| value \1 \|", 300)):
        assert [int(number) for number in re.findall(pattern, whole)] == list(range(count))
    paragraphs = [int(number) for number in re.findall(r"Paragraph (\d+) says", whole)]
    assert paragraphs == sorted(paragraphs)
    assert len(paragraphs) == LONG.count("Paragraph ")
    endings = [{block["type"] for block in message["blocks"]} for message in messages]
    assert endings[-1] >= {"context", "context_actions"}
    assert not any("context_actions" in kinds for kinds in endings[:-1])


async def test_mentions_in_documents_and_answers_notify_nobody(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    loud = "<!channel> <!here|here> <!everyone> <@U0BEN> <#C0GENERAL|x> <!subteam^S1|ops> @channel `<!here>`"
    async with start_bot(FakeModel(f"{ANSWER} {loud}")) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        [message] = await slack.until(1)
    shown = message["blocks"][0]["text"]
    assert not re.search(r"<[!@#]|@channel", shown)
    assert not re.search(r"<[!@#]|@channel", message["text"])
    assert "U0BEN" in shown  # taken apart, not taken away


async def test_thirty_questions_at_once_get_thirty_answers(sessions: Sessions, slack: SlackDouble, bot: Bot) -> None:
    slack.faults["chat.postMessage"].extend(Fault(status=429, retry_after="0.2") for _ in range(10))
    events = [slack.mention(QUESTION) for _ in range(30)]
    await asyncio.gather(*(deliver(bot.url, event) for event in events))
    await settled(sessions)
    threads = [message["thread_ts"] for message in slack.visible]
    assert sorted(threads) == sorted(event["event"]["ts"] for event in events)


async def test_a_bot_that_is_stopped_hands_its_work_to_the_next(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    slack.faults["chat.postMessage"].append(Fault(status=503))
    async with start_bot() as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        while not slack.called("chat.postMessage"):
            await asyncio.sleep(0.02)
    assert slack.visible == []
    async with start_bot():
        await settled(sessions)
    assert len(slack.visible) == 1


async def test_two_processes_on_one_database_answer_once(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    async with start_bot() as one, start_bot() as other:
        events = [slack.mention(QUESTION) for _ in range(10)]
        await asyncio.gather(
            *(deliver(one.url, event) for event in events), *(deliver(other.url, event, 1) for event in events)
        )
        await settled(sessions)
    assert len(slack.visible) == 10
