"""Answers that are shown while they are written: streamed, or posted and updated; whole at the end in any case."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Answer
from bot.slack.clean import harmless
from bot.slack.pages import pages
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, CHANNEL, TEAM, Fault, SlackDouble, envelope, send_event, shown
from tests.slack.test_delivery import LONG
from tests.slack.world import ANSWER, QUESTION, FakeModel, live, settled

STORY = ANSWER + "".join(f" Step {n} says what to do when the rollback is slow [1]." for n in range(60))


@pytest.fixture(autouse=True)
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch.setattr, True)


def slowly(text: str = STORY, piece: int = 200, gap: float = 0.04) -> FakeModel:
    return FakeModel(text, piece=piece, gap=gap)


async def stored(sessions: Sessions) -> Answer:
    async with sessions() as session:
        return (await session.execute(select(Answer))).scalar_one()


async def ask(slack: SlackDouble, start_bot: StartBot, sessions: Sessions, model: FakeModel | None = None) -> None:
    async with start_bot(model or slowly()) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await settled(sessions)


async def assert_one_whole_answer(slack: SlackDouble, sessions: Sessions) -> None:
    answer = await stored(sessions)
    assert [shown(message) for message in slack.visible] == pages(harmless(answer.text))
    assert slack.open_streams() == []
    last = slack.visible[-1]
    assert [block["type"] for block in last["blocks"]] == ["markdown", "context", "actions", "context_actions"]
    payload = last["metadata"]["event_payload"]
    assert payload["answer_id"] == str(answer.id)
    assert "draft" not in payload


async def test_an_answer_is_streamed_and_its_end_is_the_answer_with_sources_and_thumbs(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    [start] = slack.called("chat.startStream")
    assert start["recipient_team_id"] == TEAM
    assert start["recipient_user_id"] == ANNA
    assert start["thread_ts"] == slack.visible[0]["thread_ts"]
    assert len(slack.called("chat.appendStream")) >= 2
    assert len(slack.called("chat.stopStream")) == 1
    assert slack.called("chat.postMessage") == slack.called("chat.update") == []


async def test_no_piece_begins_with_a_blank(slack: SlackDouble, start_bot: StartBot, sessions: Sessions) -> None:
    await ask(slack, start_bot, sessions, slowly(STORY.replace(". ", ".\n\n"), piece=17, gap=0.01))
    await assert_one_whole_answer(slack, sessions)
    pieces = [call["markdown_text"] for call in slack.called("chat.appendStream")]
    assert len(pieces) >= 3
    assert all(piece == piece.lstrip() for piece in pieces)


async def test_a_direct_message_is_streamed_with_its_recipients_too(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(slowly()) as bot:
        await send_event(bot.url, slack.direct(QUESTION))
        await settled(sessions)
    await assert_one_whole_answer(slack, sessions)
    assert slack.called("chat.startStream")[0]["recipient_user_id"] == ANNA


async def test_an_answer_of_several_messages_is_streamed_one_after_the_other(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    await ask(slack, start_bot, sessions, slowly(LONG, piece=1_500, gap=0.03))
    await assert_one_whole_answer(slack, sessions)
    assert len(slack.visible) >= 4
    texts = [call.get("markdown_text") or "" for method, call in slack.calls if method.endswith("Stream")]
    assert max(map(len, texts)) <= 12_000


async def test_a_stream_that_slack_ends_is_finished_by_an_update(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    slack.stream_seconds = 0.15
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    assert len(slack.visible) == 1
    assert slack.called("chat.update")


async def test_before_its_life_is_over_a_stream_is_ended_and_goes_on_by_updates(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.slack.stream.STREAM_SECONDS", 0.15)
    monkeypatch.setattr("bot.slack.stream.UPDATE_SECONDS", 0.05)
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    names = [name for name, _ in slack.calls if name.startswith("chat.")]
    assert names.index("chat.stopStream") < names.index("chat.update")
    assert "chat.appendStream" not in names[names.index("chat.stopStream") :]


LATE = [Fault(error="message_not_in_streaming_state"), Fault(status=503), Fault(drop=True), Fault(error="msg_too_long")]


@pytest.mark.parametrize("method", ["chat.appendStream", "chat.stopStream"])
@pytest.mark.parametrize("effect_first", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize("fault", LATE, ids=["over", "503", "dropped", "too-long"])
async def test_whatever_becomes_of_a_piece_or_the_end_the_answer_is_whole_and_there_once(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, method: str, effect_first: bool, fault: Fault
) -> None:
    slack.faults[method].append(Fault(**{**vars(fault), "effect_first": effect_first}))
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    assert len(slack.visible) == 1


@pytest.mark.parametrize("effect_first", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(status=502, body="<html>")], ids=["dropped", "502"])
async def test_a_start_of_unknown_outcome_is_looked_up_and_never_repeated(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, effect_first: bool, fault: Fault
) -> None:
    slack.faults["chat.startStream"].append(Fault(**{**vars(fault), "effect_first": effect_first}))
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    assert len(slack.visible) == 1
    assert len(slack.called("chat.startStream")) == 1


@pytest.mark.parametrize("code", ["unknown_method", "missing_scope", "channel_type_not_supported", "not_authorized"])
async def test_where_nothing_can_be_streamed_the_answer_is_posted_and_updated(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.slack.stream.POST_AFTER", 0.1)
    monkeypatch.setattr("bot.slack.stream.UPDATE_SECONDS", 0.05)
    slack.faults["chat.startStream"].append(Fault(error=code))
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)
    assert len(slack.called("chat.startStream")) == 1
    assert len(slack.called("chat.postMessage")) == 1
    assert len(slack.called("chat.update")) >= 2


async def test_a_slack_without_streams_is_not_asked_for_one_each_time(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    slack.unknown.add("chat.startStream")
    async with start_bot(slowly()) as bot:
        for count in (1, 2):
            await send_event(bot.url, slack.mention(QUESTION))
            await slack.until(count)
            await settled(sessions)
    assert len(slack.called("chat.startStream")) == 1
    assert len(slack.visible) == 2


async def test_a_start_that_is_limited_is_no_stream_and_the_next_one_waits(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    slack.faults["chat.startStream"].append(Fault(status=429, retry_after="30"))
    async with start_bot(slowly()) as bot:
        for count in (1, 2):
            await send_event(bot.url, slack.mention(QUESTION))
            await slack.until(count)
            await settled(sessions)
    assert len(slack.called("chat.startStream")) == 1  # the second answer kept away for thirty seconds
    assert len(slack.visible) == 2


async def test_pieces_that_are_limited_wait_and_nothing_is_lost(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    slack.faults["chat.appendStream"].extend([Fault(status=429, retry_after="0.2")] * 2)
    await ask(slack, start_bot, sessions)
    await assert_one_whole_answer(slack, sessions)


async def test_stop_ends_the_model_and_leaves_what_was_shown(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = slowly(STORY * 20, gap=0.05)
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await slack.wait(lambda: slack.called("chat.appendStream"))
        slack.press_stop(slack.visible[0])  # the next piece is refused
        await settled(sessions)
    await assert_stopped(slack, sessions, model)


async def test_stop_is_heard_as_an_event_too_and_the_session_is_closed(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = slowly(STORY * 20, gap=0.05)
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await slack.wait(lambda: slack.called("chat.startStream"))
        await send_event(bot.url, envelope(slack.press_stop(slack.visible[0])))
        await settled(sessions)
        await slack.wait(lambda: slack.sessions)
    assert slack.sessions[0]["status"] == "active"
    await assert_stopped(slack, sessions, model)


async def assert_stopped(slack: SlackDouble, sessions: Sessions, model: FakeModel) -> None:
    answer = await stored(sessions)
    assert answer.outcome == "stopped"
    assert len(answer.text) < len(STORY) * 10
    assert model.stopped == 1
    [message] = slack.visible
    assert shown(message) == answer.text
    assert shown(message).endswith("*Stopped.*")
    kinds = [block["type"] for block in message["blocks"]]
    assert kinds == ["markdown", "context", "actions"]
    assert "Try again" in json.dumps(message["blocks"])


async def test_what_the_check_changes_is_shown_instead_of_the_draft(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    """The draft cites nothing that exists, so the answer is another one."""
    await ask(slack, start_bot, sessions, slowly("Nothing of this is anywhere in what we have. " * 30))
    [message] = slack.visible
    assert shown(message) == "I did not find this in the documents."
    assert (await stored(sessions)).outcome == "not_in_documents"


async def test_messages_that_the_answer_does_not_need_are_taken_away(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    await ask(slack, start_bot, sessions, slowly("Nothing of this is anywhere in what we have. " * 700, piece=4_000))
    assert [shown(message) for message in slack.visible] == ["I did not find this in the documents."]
    assert len(slack.called("chat.startStream")) >= 2


async def test_a_message_that_somebody_deleted_meanwhile_is_sent_anew(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(slowly()) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await slack.wait(lambda: slack.called("chat.startStream"))
        slack.channels[CHANNEL].messages.remove(slack.visible[0])
        await settled(sessions)
    await assert_one_whole_answer(slack, sessions)


async def test_mentions_and_lying_links_are_taken_apart_in_every_piece(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    loud = STORY + " <!channel> <@U0BEN> @everyone [bank.example](https://evil.example) and so on to the end. " * 5
    seen: list[str] = []
    await ask(slack, start_bot, sessions, slowly(loud, piece=5, gap=0.0))
    await assert_one_whole_answer(slack, sessions)
    seen += [call.get("markdown_text") or "" for name, call in slack.calls if name.endswith("Stream")]
    for text in [*seen, "".join(seen), shown(slack.visible[0])]:
        assert "<!" not in text
        assert "<@" not in text
        assert "@everyone" not in text
        assert "](https://evil" not in text


async def test_two_answers_in_one_thread_at_once_do_not_mix(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    slack.faults["chat.startStream"].append(Fault(drop=True, effect_first=True))
    async with start_bot(slowly()) as bot:
        first = slack.mention(QUESTION)
        await send_event(bot.url, first)
        await send_event(bot.url, slack.mention(QUESTION, thread_ts=first["event"]["ts"]))
        await settled(sessions)
    assert len(slack.visible) == 2
    assert len({message["metadata"]["event_payload"]["answer_id"] for message in slack.visible}) == 2
    assert slack.open_streams() == []


@pytest.mark.parametrize("signs", [True, False], ids=["status", "message"])
async def test_a_slow_model_shows_progress(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, signs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.slack.sign.BUSY_AFTER", 0.05)
    monkeypatch.setattr("bot.slack.sign.PLACE_AFTER", 0.2)
    if not signs:
        slack.unknown.add("assistant.threads.setStatus")
    async with start_bot(FakeModel(hangs=True), question_timeout=3.0) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        happened: Callable[[], object] = (lambda: slack.statuses) if signs else (lambda: slack.visible)
        await slack.wait(happened, 3)
        early = slack.statuses[-1]["status"] if signs else shown(slack.visible[0])
        await settled(sessions)
    assert early in ("is writing; documents found: 1…", "is looking in the documents…", "Looking in the documents…")
    [message] = slack.visible
    assert "reference" in shown(message)
    await asyncio.sleep(0)
