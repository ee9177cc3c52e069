"""Conversations: follow-ups without a mention, several people, questions that are edited or taken back."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import select

from assistant.database.channels import ChannelSettings
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Inbox
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, BOT, CHANNEL, DM, TEAM, Fault, SlackDouble, envelope, send_event, shown
from tests.slack.world import ANSWER, PASSAGE, QUESTION, Bot, FakeEmbedder, FakeModel, Page, index, live, settled
from tests.tools.api import until


async def answered(slack: SlackDouble, bot: Bot, sessions: Sessions, text: str = QUESTION) -> dict[str, object]:
    """A question in the channel that has its answer; the event that it came by."""
    event = slack.mention(text)
    count = len(slack.visible)
    assert await send_event(bot.url, event) == 200
    await slack.until(count + 1)
    await settled(sessions)
    return event


async def answers(sessions: Sessions) -> list[Answer]:
    async with sessions() as session:
        return list((await session.execute(select(Answer).order_by(Answer.created_at))).scalars())


# follow-ups


async def test_a_follow_up_in_a_thread_needs_no_mention_also_after_a_restart(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot() as bot:
        event = await answered(slack, bot, sessions)
    thread = event["event"]["ts"]  # type: ignore[index]
    model = FakeModel()
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.plain("And how do I roll back the deploy of it?", BEN, thread))
        await slack.until(2)
        await send_event(bot.url, slack.plain("and the deploy of payments", ANNA, thread))
        await slack.until(3)
        await settled(sessions)
    assert slack.visible[1]["thread_ts"] == thread
    brief, _ = model.briefs
    assert [turn.question for turn in brief.turns] == [QUESTION]
    assert brief.turns[0].asker_name == "Anna"
    assert brief.asker_name == "Ben"


@pytest.mark.parametrize(
    "text",
    [
        f"<@{BEN}> did you see how it rolls back?",
        "<!subteam^S123> how do we roll back?",
        "thanks, that helps!",
        "ok :tada:",
        "Danke!",
        "I will be out for lunch.",
    ],
)
async def test_what_people_say_to_each_other_in_its_thread_is_left_to_them(
    slack: SlackDouble, bot: Bot, sessions: Sessions, text: str
) -> None:
    event = await answered(slack, bot, sessions)
    await send_event(bot.url, slack.plain(text, BEN, event["event"]["ts"]))  # type: ignore[index]
    await settled(sessions)
    assert len(slack.visible) == 1


async def test_a_thread_that_it_takes_no_part_in_is_left_alone(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    root = slack.says(BEN, "The deploy is broken")
    await send_event(bot.url, slack.plain(QUESTION, thread_ts=root["ts"]))
    await send_event(bot.url, slack.plain(QUESTION))
    await settled(sessions)
    assert slack.visible == []
    assert await answers(sessions) == []


async def test_a_bare_mention_below_a_question_answers_that_question(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = FakeModel()
    root = slack.says(BEN, QUESTION)
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.mention("", thread_ts=root["ts"]))
        [message] = await slack.until(1)
    assert model.asked == [QUESTION]
    assert message["thread_ts"] == root["ts"]
    assert "deployctl" in shown(message)


# unasked


async def test_where_the_channel_wants_it_a_sure_answer_comes_unasked_and_an_unsure_one_does_not(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot() as bot:
        wanted = ChannelSettings(answer="sure")
        await bot.services.channels.change("slack", f"{TEAM}:{CHANNEL}", wanted, f"slack:{TEAM}:{ANNA}")
        event = slack.plain(QUESTION)
        await send_event(bot.url, event)
        await slack.until(1)
        for text in ("Lunch at noon, as always.", "What is the meaning of the Voynich manuscript?"):
            await send_event(bot.url, slack.plain(text))
        await settled(sessions)
    [message] = slack.visible
    assert message["thread_ts"] == event["event"]["ts"]
    assert slack.statuses == []


# several settings of the channel


async def test_the_channels_language_persona_and_sources_are_heeded(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = FakeModel()
    async with start_bot(model) as bot:
        chosen = ChannelSettings(show_sources=False, persona="Be brief.", language="de")
        await bot.services.channels.change("slack", f"{TEAM}:{CHANNEL}", chosen, "slack:T:U")
        await answered(slack, bot, sessions)
    assert model.briefs[0].persona == "Be brief."
    assert model.briefs[0].language == "de"
    kinds = [block["type"] for block in slack.visible[0]["blocks"]]
    assert kinds == ["markdown", "actions", "context_actions"]
    assert "Quellen zeigen" in json.dumps(slack.visible[0]["blocks"], ensure_ascii=False)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Wie viele Urlaubstage stehen den Beschäftigten in diesem Unternehmen jährlich zu?", "nicht gefunden"),
        ("Combien de jours de congé les employés de cette entreprise ont-ils chaque année ?", "pas trouvé"),
        ("¿Cuántos días de vacaciones tienen los empleados de esta empresa cada año?", "No he encontrado"),
    ],
)
async def test_everything_is_said_in_the_language_of_the_question(
    slack: SlackDouble, start_bot: StartBot, question: str, said: str
) -> None:
    async with start_bot(FakeModel("NOT_IN_DOCUMENTS")) as bot:
        await send_event(bot.url, slack.mention(question))
        [message] = await slack.until(1)
    assert said in shown(message)
    assert "Good answer" not in json.dumps(message)


# edits


async def test_an_edited_question_is_answered_anew_in_the_same_message(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = FakeModel()
    async with start_bot(model) as bot:
        event = await answered(slack, bot, sessions)
        ts = slack.visible[0]["ts"]
        model.text = "Use `deployctl rollback payments` with care [1]."
        edit = slack.edits(event, f"<@{BOT}> {QUESTION} Be careful.")
        assert await send_event(bot.url, edit) == 200
        assert await send_event(bot.url, edit, retry=1) == 200
        await settled(sessions)
        model.text = "Use `deployctl rollback payments` at once [1]."
        await send_event(bot.url, slack.edits(event, f"<@{BOT}> {QUESTION} Be quick."))
        await settled(sessions)
    [message] = slack.visible
    assert message["ts"] == ts
    assert shown(message) == "Use `deployctl rollback payments` at once [1]."
    assert model.asked == [QUESTION, f"{QUESTION} Be careful.", f"{QUESTION} Be quick."]
    withdrawn = [answer.withdrawn_at is not None for answer in await answers(sessions)]
    assert withdrawn == [True, True, False]
    assert message["metadata"]["event_payload"]["answer_id"] == str((await answers(sessions))[-1].id)


async def test_an_edit_that_comes_late_does_not_end_the_work_on_a_newer_one(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    """Else the older one is found to be superseded, and what stands is the answer before, taken back already."""
    model = FakeModel()
    async with start_bot(model) as bot:
        event = await answered(slack, bot, sessions)
        first, second, third = (
            slack.edits(event, f"<@{BOT}> {QUESTION} {words}") for words in ("One.", "Two.", "Three.")
        )
        await send_event(bot.url, second)
        await settled(sessions)
        model.text, model._piece, model._gap = "Use `deployctl rollback payments` at once [1].", 2, 0.2
        await send_event(bot.url, third)
        await until(lambda: len(model.asked) == 3)
        await send_event(bot.url, first)
        await settled(sessions)
    [message] = slack.visible
    assert shown(message) == model.text
    [newest] = [answer for answer in await answers(sessions) if answer.withdrawn_at is None]
    assert message["metadata"]["event_payload"]["answer_id"] == str(newest.id)


async def test_an_edit_while_the_answer_is_written_takes_its_messages_over(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(monkeypatch.setattr, True)
    model = FakeModel(ANSWER + " And more of it [1]." * 300, piece=100, gap=0.05)
    async with start_bot(model) as bot:
        event = slack.mention(QUESTION)
        await send_event(bot.url, event)
        await slack.wait(lambda: slack.called("chat.startStream"))
        await send_event(bot.url, slack.edits(event, f"<@{BOT}> {QUESTION} In short."))
        model.text = ANSWER
        await settled(sessions)
    [message] = slack.visible
    assert shown(message) == ANSWER
    assert slack.open_streams() == []
    async with sessions() as session:
        states = (await session.execute(select(Inbox.state).order_by(Inbox.received_at))).scalars().all()
    assert states == ["cancelled", "done"]


async def test_a_link_that_unfolds_is_no_edit_and_an_edit_that_adds_a_mention_asks(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    event = await answered(slack, bot, sessions)
    await send_event(bot.url, slack.edits(event, event["event"]["text"]))  # type: ignore[arg-type,index]
    other = slack.plain("deploys, roll back?")
    await send_event(bot.url, other)
    await settled(sessions)
    assert len(await answers(sessions)) == 1
    await send_event(bot.url, slack.edits(other, f"<@{BOT}> {QUESTION}"))
    await slack.until(2)
    assert slack.visible[1]["thread_ts"] == other["event"]["ts"]


async def test_an_edit_that_makes_the_answer_shorter_leaves_no_rest(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = FakeModel(ANSWER + "\n\n" + "A paragraph of the answer [1].\n\n" * 900)
    async with start_bot(model) as bot:
        event = await answered(slack, bot, sessions)
        assert len(slack.visible) > 1
        model.text = ANSWER
        await send_event(bot.url, slack.edits(event, f"<@{BOT}> {QUESTION} In short."))
        await settled(sessions)
    assert [shown(message) for message in slack.visible] == [ANSWER]


# deletions


async def test_a_deleted_question_takes_its_answer_with_it(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(FakeModel(ANSWER + "\n\n" + "A paragraph of the answer [1].\n\n" * 900)) as bot:
        event = await answered(slack, bot, sessions)
        gone = slack.deletes(event)
        assert gone["event"]["subtype"] == "message_changed"  # the root of a thread leaves a tombstone
        await send_event(bot.url, gone)
        await settled(sessions)
    assert slack.visible == []
    assert (await answers(sessions))[0].withdrawn_at is not None


async def test_a_question_deleted_in_a_direct_message_before_its_answer_gets_none(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(FakeModel(hangs=True)) as bot:
        event = slack.direct(QUESTION)
        await send_event(bot.url, event)
        await asyncio.sleep(0.3)
        gone = slack.deletes(event)
        assert gone["event"]["subtype"] == "message_deleted"
        await send_event(bot.url, gone)
        await settled(sessions)
    assert slack.visible == []


async def test_a_question_deleted_while_its_answer_is_streamed_stops_the_work(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(monkeypatch.setattr, True)
    model = FakeModel(ANSWER + " And more of it [1]." * 3_000, piece=100, gap=0.05)
    async with start_bot(model) as bot:
        event = slack.mention(QUESTION)
        await send_event(bot.url, event)
        await slack.wait(lambda: slack.called("chat.appendStream"))
        await send_event(bot.url, slack.deletes(event))
        await settled(sessions)
    assert slack.visible == []
    assert model.stopped == 1


async def test_a_deleted_message_that_asked_nothing_is_ignored(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    other = slack.plain("lunch?")
    await send_event(bot.url, slack.deletes(other))
    await settled(sessions)
    async with sessions() as session:
        assert (await session.execute(select(Inbox))).scalars().all() == []


# private answers


@pytest.fixture
async def secret(sessions: Sessions, library: None) -> None:
    text = "The bonus of the payments team is paid in March, says the review of Anna."
    page = Page("hr/anna.md", "Anna's review", text, readers=(f"user:slack:{TEAM}:{ANNA}",))
    await index(sessions, FakeEmbedder(), page)


PRIVATE = "When is the bonus of the payments team paid, says the review of Anna?"


async def test_what_only_the_asker_may_read_is_shown_to_the_asker_and_shared_on_request(
    slack: SlackDouble, secret: None, start_bot: StartBot, sessions: Sessions
) -> None:
    from tests.slack.double import send_click

    public = "NOT_IN_DOCUMENTS"

    class Careful(FakeModel):
        async def write(self, brief):  # type: ignore[no-untyped-def,override]
            self.text = "It is paid in March [1]." if "Anna's review" in brief.passages[0].title else public
            async for piece in super().write(brief):
                yield piece

    async with start_bot(Careful()) as bot:
        event = slack.mention(PRIVATE)
        await send_event(bot.url, event)
        [whisper] = await slack.until_ephemeral(1)
        await settled(sessions)
        assert slack.visible == []
        assert whisper["user"] == ANNA
        assert whisper["thread_ts"] == event["event"]["ts"]
        text = json.dumps(whisper)
        assert "Only you can see this" in text
        assert "Anna's review" in text
        assert await send_click(bot.url, slack.press(whisper, "answer_share", BEN)) == 200
        [_, refusal] = await slack.until_ephemeral(2)
        assert "Only the person who asked" in refusal["text"]
    async with sessions() as session:
        await session.execute(Inbox.__table__.delete().where(Inbox.message_key.startswith("share:")))
        await session.commit()
    async with start_bot(Careful()) as bot:
        press = slack.press(whisper, "answer_share", ANNA)
        await send_click(bot.url, press)
        await send_click(bot.url, press)
        await slack.until(2)
        await settled(sessions)
    intro, answer = slack.visible
    assert "Anna asked and shares" in json.dumps(intro)
    assert "paid in March" in shown(answer)
    assert intro["thread_ts"] == answer["thread_ts"] == event["event"]["ts"]
    assert "Only you can see" not in json.dumps(answer)


async def test_a_private_answer_reaches_somebody_whom_the_channel_cannot_show_it(
    slack: SlackDouble, secret: None, start_bot: StartBot, sessions: Sessions
) -> None:
    class Careful(FakeModel):
        async def write(self, brief):  # type: ignore[no-untyped-def,override]
            self.text = "It is paid in March [1]." if "Anna" in brief.passages[0].title else "NOT_IN_DOCUMENTS"
            async for piece in super().write(brief):
                yield piece

    slack.faults["chat.postEphemeral"].append(Fault(error="user_not_in_channel"))
    async with start_bot(Careful()) as bot:
        await send_event(bot.url, slack.mention(PRIVATE))
        await slack.until(1)
        await settled(sessions)
    [message] = slack.visible
    assert message["channel"] == DM
    assert "paid in March" in shown(message)


async def test_others_learn_nothing_of_it(slack: SlackDouble, secret: None, bot: Bot, sessions: Sessions) -> None:
    await send_event(bot.url, slack.mention(PRIVATE, user=BEN))
    await settled(sessions)
    assert slack.ephemerals == []
    assert "review" not in json.dumps(slack.visible).replace("review of", "")
    assert PASSAGE


async def test_an_event_of_another_kind_is_acknowledged(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    for event in ({"type": "app_context_changed"}, {"type": "channel_rename"}, {"type": "assistant_thread_started"}):
        assert await send_event(bot.url, envelope(event)) == 200
