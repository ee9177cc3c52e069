"""From a signed event to one answer in the thread."""

from __future__ import annotations

import asyncio
import json

from sqlalchemy import func, select

from assistant.database.session import Sessions
from assistant.database.tables import Answer, Inbox
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.extractive import ExtractiveModel
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, BOT, BOT_ID, CHANNEL, DM, TEAM, SlackDouble, send_event, send_raw, signed
from tests.slack.world import (
    ANSWER,
    PASSAGE,
    QUESTION,
    ROLLBACK,
    Bot,
    FakeEmbedder,
    FakeModel,
    Page,
    index,
    running_bot,
    settings,
    settled,
)  # fmt: skip


async def stored(sessions: Sessions) -> int:
    async with sessions() as session:
        return (await session.execute(select(func.count()).select_from(Inbox))).scalar_one()


async def test_a_mention_is_answered_from_the_documents_in_its_thread(
    database_url: str, sessions: Sessions, slack: SlackDouble, embedder: TransformerEmbedder
) -> None:
    noise = Page("guides/leave.md", "Leave policy", "Everybody has thirty days of paid leave in a year.")
    await index(sessions, embedder, ROLLBACK, noise)
    configured = settings(slack.base_url)
    async with running_bot(database_url, configured, ExtractiveModel(embedder), embedder) as bot:
        event = slack.mention(QUESTION)
        assert await send_event(bot.url, event) == 200
        [message] = await slack.until(1)
    assert message["thread_ts"] == event["event"]["ts"]
    assert message["channel"] == CHANNEL
    assert message["unfurl_links"] is False
    assert message["unfurl_media"] is False
    markdown, sources, buttons, thumbs = message["blocks"]
    assert "deployctl rollback payments" in markdown["text"]
    assert "[1]" in markdown["text"]
    assert "deployctl rollback payments" in message["text"]
    label = "[1] Payments runbook › Roll back"
    link = f"<https://docs.example.com/payments?a=1&amp;b=2|{label}>"
    assert sources["elements"][0]["text"] == f"{link} · payments team · updated 3 weeks ago"
    assert [button["text"]["text"] for button in buttons["elements"]] == ["Show sources", "Ask a person", "Try again"]
    async with sessions() as session:
        answer = (await session.execute(select(Answer))).scalar_one()
    feedback = thumbs["elements"][0]
    assert feedback["positive_button"]["value"] == f"up:{answer.id}"
    assert feedback["negative_button"]["value"] == f"down:{answer.id}"
    assert message["metadata"]["event_payload"]["answer_id"] == str(answer.id)
    assert answer.asker == f"slack:{TEAM}:{ANNA}"
    assert answer.audience == sorted(["everyone", f"channel:slack:{TEAM}:{CHANNEL}"])
    assert answer.conversation == f"{TEAM}:{CHANNEL}:{event['event']['ts']}"
    assert answer.question == QUESTION


async def test_a_question_in_a_thread_is_answered_in_that_thread(slack: SlackDouble, bot: Bot) -> None:
    root = slack.says(BEN, "The deploy is broken")
    await send_event(bot.url, slack.mention(QUESTION, thread_ts=root["ts"]))
    [message] = await slack.until(1)
    assert message["thread_ts"] == root["ts"]


async def test_what_is_not_in_the_documents_is_said_with_the_nearest_sources(
    slack: SlackDouble, start_bot: StartBot
) -> None:
    async with start_bot(FakeModel("Nothing that any passage says.")) as bot:
        await send_event(bot.url, slack.mention("How do I roll back a deploy of the kitchen sink?"))
        [message] = await slack.until(1)
    _, nearest, _, thumbs = message["blocks"]
    assert "did not find" in message["text"]
    assert "Payments runbook" in nearest["elements"][0]["text"]
    assert thumbs["type"] == "context_actions"


async def test_the_same_event_four_times_at_once_is_one_answer(
    sessions: Sessions, slack: SlackDouble, bot: Bot
) -> None:
    event = slack.mention(QUESTION)
    statuses = await asyncio.gather(*(send_event(bot.url, event, retry) for retry in range(4)))
    assert statuses == [200] * 4
    await settled(sessions)
    assert len(slack.visible) == 1
    assert bot.counted("almanac_events_total", platform="slack", fate="stored") == 1
    assert bot.counted("almanac_events_total", platform="slack", fate="duplicate") == 3


async def test_a_retry_is_taken_when_the_first_delivery_never_came(slack: SlackDouble, bot: Bot) -> None:
    await send_event(bot.url, slack.mention(QUESTION), retry=2)
    await slack.until(1)


async def test_a_mention_that_comes_as_two_events_is_one_answer(
    sessions: Sessions, slack: SlackDouble, bot: Bot
) -> None:
    mention = slack.direct(f"<@{BOT}> {QUESTION}")
    twin = {**mention, "event_id": "EvTWIN", "event": {**mention["event"], "type": "app_mention"}}
    assert await asyncio.gather(send_event(bot.url, mention), send_event(bot.url, twin)) == [200, 200]
    in_channel = slack.mention(QUESTION)
    as_message = {**in_channel["event"], "type": "message", "channel_type": "channel"}
    await send_event(bot.url, {**in_channel, "event_id": "EvOTHER", "event": as_message})
    await send_event(bot.url, in_channel)
    await slack.until(2)
    await settled(sessions)
    assert sorted(message["channel"] for message in slack.visible) == [CHANNEL, DM]


async def test_a_direct_message_is_answered_with_what_its_writer_may_read(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    secret = Page("hr/anna.md", "Anna's review", PASSAGE, readers=(f"user:slack:{TEAM}:{ANNA}",))
    await index(sessions, FakeEmbedder(), secret)
    async with start_bot(FakeModel(f"{ANSWER} It is in two places [2].")) as bot:
        await send_event(bot.url, slack.direct(QUESTION))
        [private] = await slack.until(1)
        await send_event(bot.url, slack.direct(QUESTION, user=BEN))
        await send_event(bot.url, slack.mention(QUESTION))
        others = (await slack.until(3))[1:]
    assert private["channel"] == DM
    assert "Anna's review" in json.dumps(private)
    assert "Anna's review" not in json.dumps(others)
    async with sessions() as session:
        audiences = (await session.execute(select(Answer.audience).where(Answer.asker.endswith(ANNA)))).scalars().all()
    assert ["everyone", "user:email:anna@example.com", f"user:slack:{TEAM}:{ANNA}"] in audiences


async def test_outsiders_in_a_shared_channel_see_nothing_internal_and_are_told_why(
    slack: SlackDouble, bot: Bot
) -> None:
    await send_event(bot.url, {**slack.mention(QUESTION), "is_ext_shared_channel": True})
    [message] = await slack.until(1)
    assert "Payments runbook" not in json.dumps(message)
    assert "another company" in json.dumps(message["blocks"])


async def test_what_asks_nothing_is_acknowledged_and_not_stored(
    sessions: Sessions, slack: SlackDouble, bot: Bot
) -> None:
    silent: list[dict[str, str | None]] = [
        {"bot_id": BOT_ID, "user": BOT},
        {"bot_id": "B0OTHER"},
        {"user": BOT},
        {"subtype": "message_changed"},
        {"subtype": "message_deleted"},
        {"subtype": "channel_join"},
        {"type": "reaction_added"},
        {"channel": CHANNEL, "channel_type": "channel"},
        {"channel": CHANNEL, "channel_type": "mpim"},
        {"user": None},
    ]
    for changed in silent:
        event = slack.direct(QUESTION)
        assert await send_event(bot.url, {**event, "event": {**event["event"], **changed}}) == 200
        assert await stored(sessions) == 0, changed
    assert bot.counted("almanac_events_total", platform="slack", fate="ignored") == len(silent)


async def test_text_beside_a_file_or_sent_to_the_channel_too_is_a_question(slack: SlackDouble, bot: Bot) -> None:
    for count, subtype in enumerate(("file_share", "thread_broadcast"), start=1):
        await send_event(bot.url, slack.direct(QUESTION, subtype=subtype))
        await slack.until(count)


async def test_a_bare_mention_gets_one_line_of_help(sessions: Sessions, slack: SlackDouble, bot: Bot) -> None:
    event = slack.mention("")
    await asyncio.gather(send_event(bot.url, event), send_event(bot.url, event, 1))
    [message] = await slack.until(1)
    await settled(sessions)
    assert len(slack.visible) == 1
    assert message["text"].startswith("Ask me a question")


async def test_a_model_that_hangs_delays_no_acknowledgement_and_ends_in_a_reference(
    slack: SlackDouble, start_bot: StartBot
) -> None:
    async with start_bot(FakeModel(hangs=True), question_timeout=4) as bot:
        event = slack.mention(QUESTION)
        assert await send_event(bot.url, event) == 200
        assert slack.visible == []
        [message] = await slack.until(1)
        assert slack.statuses[0]["thread_ts"] == event["event"]["ts"]
    reference = message["text"].rstrip(".").rsplit(" ", 1)[-1]
    assert len(reference) == 8
    assert message["metadata"]["event_payload"]["answer_id"].startswith(reference)
    assert all(block["type"] != "context_actions" for block in message["blocks"])


async def test_a_model_that_breaks_tells_nothing_of_its_exception(slack: SlackDouble, start_bot: StartBot) -> None:
    def breaks() -> None:
        raise RuntimeError("password=hunter2 at 10.0.0.1")

    async with start_bot(FakeModel(before=breaks)) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        [message] = await slack.until(1)
    assert "hunter2" not in json.dumps(message)
    assert "reference" in message["text"]


async def test_a_text_that_cannot_be_stored_as_it_is_still_gets_its_answer(slack: SlackDouble, bot: Bot) -> None:
    raw = json.dumps(slack.mention(f"{QUESTION} \\u0000 \\ud800")).replace("\\\\u", "\\u").encode()
    assert b"\\u0000" in raw
    assert await send_raw(bot.url, raw, {"Content-Type": "application/json", **signed(raw)}) == 200
    await slack.until(1)


async def test_no_call_is_made_before_the_first_question(slack: SlackDouble, bot: Bot) -> None:
    assert slack.calls == []
    await send_event(bot.url, slack.mention(QUESTION))
    await slack.until(1)
    called = [method for method, _ in slack.calls if method != "assistant.threads.setStatus"]  # where it takes long
    assert called == ["users.info", "chat.postMessage"]
