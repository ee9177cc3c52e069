"""An answer in the making: Teams' native stream in personal chats, typing and edits elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from bot.teams import live
from tests.teams.double import STREAM_LIFE, Fault, TeamsDouble
from tests.teams.parts import (
    CHAT,
    QUESTION,
    SECOND,
    TEMPO,
    Bot,
    ScriptedModel,
    SlowModel,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

GROUP = "19:group@thread.v2"
LONG = (
    "The on-call engineer **may** roll it back [1], see [the wiki](https://wiki.example.com/ledger) and `ledgerctl "
    "rollback <id>`.\n\n## After that\n\n| step | who |\n|---|---|\n| write to #ledger | on-call [1] |\n\nThen it "
    "is done. "
) * 2 + "That is all [1]."


@pytest.fixture
async def slow(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> AsyncIterator[tuple[Bot, SlowModel]]:
    model = SlowModel(LONG, pause=0.02)
    services = make_services(make_settings(double), filled, embedder, model)
    async with running_bot(services, double) as bot:
        yield bot, model


async def streaming(double: TeamsDouble, steps: int = 1) -> None:
    """Until so many texts of the answer were shown."""

    def shown() -> bool:
        return sum(call.streamed.get("streamType") == "streaming" for call in double.steps()) >= steps

    await double.wait_for(shown)


async def test_each_text_extends_the_last_and_the_final_message_is_the_answer(
    slow: tuple[Bot, SlowModel], double: TeamsDouble
) -> None:
    bot, _ = slow
    await bot.deliver(message(double))
    await bot.settled()
    steps = double.steps()
    infos = [step.streamed for step in steps]
    assert double.violations == []  # it checks growth, order, rate and life
    assert [info.get("streamSequence") for info in infos] == [*range(1, len(steps)), None]
    kinds = [info["streamType"] for info in infos]
    assert kinds[0] == "informative"
    assert kinds[-1] == "final"
    assert kinds.count("streaming") >= 3
    assert infos[0].get("streamId") is None
    assert {info["streamId"] for info in infos[1:]} == set(double.streams)
    gaps = [after.at - before.at for before, after in pairwise(steps)]
    assert min(gaps) >= SECOND
    [shown] = double.messages(CHAT)
    assert "**After that**" in shown["text"]
    assert "*Table 1, below*" in shown["text"]
    assert "&lt;id>" not in shown["text"]
    assert "<id>" in shown["text"]
    assert len(double.cards(CHAT)) == 3  # two tables, and the buttons


async def test_what_the_final_check_changes_goes_into_the_final_message(bot: Bot, double: TeamsDouble) -> None:
    bot.services.model.text = "It is so [1]. Nobody knows [9]."  # type: ignore[attr-defined]
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.messages(CHAT)
    assert "[9]" not in shown["text"]
    assert double.violations == []


async def test_stop_ends_the_answer_with_what_was_shown(slow: tuple[Bot, SlowModel], double: TeamsDouble) -> None:
    bot, model = slow
    await bot.deliver(message(double))
    await streaming(double)
    double.stop(CHAT)
    await bot.settled()
    [answer] = await bot.answers()
    [shown] = double.messages(CHAT)
    assert answer.outcome == "stopped"
    assert shown["text"].endswith("*Stopped.*")
    assert shown["text"].startswith("The on-call engineer")
    assert model.finished == 0
    assert [violation for violation in double.violations if "canceled" not in violation] == []


async def test_stop_where_teams_lets_nothing_be_added_leaves_one_message(
    slow: tuple[Bot, SlowModel], double: TeamsDouble
) -> None:
    bot, _ = slow
    double.updates_after_stop = False
    await bot.deliver(message(double))
    await streaming(double)
    double.stop(CHAT)
    [event] = await bot.settled()
    assert event.state == "done"
    [shown] = double.texts(CHAT)
    assert shown.startswith("The on-call engineer")


async def test_stop_before_any_text_is_said(slow: tuple[Bot, SlowModel], double: TeamsDouble) -> None:
    bot, model = slow
    model.pause = 0.5
    await bot.deliver(message(double))
    await double.wait_for(lambda: double.streams)
    double.stop(CHAT)
    await bot.settled()
    assert double.texts(CHAT) == [say("common.stopped")]


async def test_a_stream_is_closed_before_its_time_is_over_and_the_answer_goes_on(
    slow: tuple[Bot, SlowModel], double: TeamsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, model = slow
    assert live.Tempo().life < STREAM_LIFE - 2 * live.Tempo().update
    monkeypatch.setattr(live, "TEMPO", replace(TEMPO, life=0.4))
    model.pause = 0.03
    await bot.deliver(message(double))
    await bot.settled()
    [answer] = await bot.answers()
    [shown] = double.messages(CHAT)
    assert double.violations == []
    assert answer.outcome == "answered"
    assert shown["text"].endswith("That is all [1].")
    assert shown["entities"][0]["citation"]
    [last] = [step for step in double.steps() if step.streamed["streamType"] == "final"]
    assert last.body["text"].endswith("…")
    edits = [call.body["text"] for call in double.requests if call.method == "PUT"]
    assert len(edits) >= 2
    assert all(text.endswith("…") for text in edits[:-1])


async def test_a_stream_that_teams_ends_goes_on_in_the_same_message(
    slow: tuple[Bot, SlowModel], double: TeamsDouble
) -> None:
    bot, _ = slow
    double.stream_life = 0.5 / SECOND
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.messages(CHAT)
    assert shown["text"].endswith("That is all [1].")
    assert shown["entities"][0]["citation"]
    assert ["exceeded streaming time" in violation for violation in double.violations] == [True]


async def test_where_streams_are_not_allowed_the_answer_comes_by_edits(
    slow: tuple[Bot, SlowModel], double: TeamsDouble
) -> None:
    bot, _ = slow
    double.streams_allowed = False
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.texts(CHAT)
    assert shown.endswith("That is all [1].")
    assert double.typing == [CHAT]
    assert sum(call.method == "PUT" for call in double.requests) >= 2
    assert ["not allowed" in violation for violation in double.violations] == [True]


@pytest.mark.parametrize("status", [429, 502])
async def test_a_step_that_is_refused_for_now_comes_again_with_the_same_number(
    slow: tuple[Bot, SlowModel], double: TeamsDouble, status: int
) -> None:
    bot, _ = slow
    double.faults = [Fault("POST", after=2, status=status, what="stream", retry_after="0.2")]
    await bot.deliver(message(double))
    await bot.settled()
    tried = [(step.streamed.get("streamSequence"), step.outcome) for step in double.steps()]
    assert tried[2][1] == str(status)
    assert tried[3] == (tried[2][0], "taken")
    assert double.violations == []
    assert len(double.texts(CHAT)) == 1


async def test_a_step_whose_answer_was_lost_does_no_harm(slow: tuple[Bot, SlowModel], double: TeamsDouble) -> None:
    bot, _ = slow
    double.faults = [Fault("POST", after=1, drop=True, what="stream")]
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.texts(CHAT)
    assert shown.endswith("That is all [1].")
    assert double.violations == []


@pytest.mark.parametrize("fault", [Fault("POST", status=429, retry_after="0.3"), Fault("POST", drop=True)])
async def test_a_final_message_that_was_refused_or_lost_is_there_once(
    bot: Bot, double: TeamsDouble, fault: Fault
) -> None:
    double.faults = [replace(fault, what="final")]
    await bot.deliver(message(double))
    await bot.settled()
    [answer] = await bot.answers()
    assert double.texts(CHAT) == [answer.text]


async def test_two_questions_at_once_in_one_chat_are_both_answered(
    slow: tuple[Bot, SlowModel], double: TeamsDouble
) -> None:
    bot, _ = slow
    await asyncio.gather(bot.deliver(message(double)), bot.deliver(message(double)))
    await bot.settled(2)
    assert double.violations == []
    assert len(double.streams) == 1
    assert [text.endswith("That is all [1].") for text in double.texts(CHAT)] == [True, True]


async def test_a_group_sees_typing_and_edits_in_good_time(slow: tuple[Bot, SlowModel], double: TeamsDouble) -> None:
    bot, _ = slow
    await bot.deliver(mention(double, QUESTION, GROUP, "groupChat"))
    await bot.settled()
    edits = [call for call in double.requests if call.method == "PUT"]
    gaps = [after.at - before.at for before, after in pairwise(edits[:-1])]
    assert double.violations == []
    assert double.typing == [GROUP]
    assert len(edits) >= 3
    assert min(gaps) >= 1.5 * SECOND
    assert all(call.body["text"].endswith("…") for call in edits[:-1])
    assert "channelData" not in edits[0].body
    [shown] = double.texts(GROUP)
    assert shown.endswith("That is all [1].")


async def test_a_slow_model_shows_how_far_it_is(slow: tuple[Bot, SlowModel], double: TeamsDouble) -> None:
    bot, model = slow
    model.text, model.pause = "So [1].", 1.0
    await bot.deliver(message(double))
    await bot.settled()
    [stream] = double.streams.values()
    assert stream.informative[0] == say("teams.looking")
    assert stream.informative[1].startswith("Reading ")
    assert stream.informative[-1].endswith(" Still working on it (1 s)…")  # of the hurried clock
    assert double.violations == []


async def test_the_progress_is_in_the_language_of_the_question(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double, "Wer darf das Deployment des Ledger-Dienstes zurückrollen?", locale="de-DE"))
    await bot.settled()
    [stream] = double.streams.values()
    assert stream.informative[0] == say("teams.looking", "de")


async def test_what_is_refused_in_the_final_message_is_left_out_not_the_answer(bot: Bot, double: TeamsDouble) -> None:
    double.faults = [Fault("POST", status=400, what="final", message="bad citation")]
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.messages(CHAT)
    assert "on-call engineer" in shown["text"]
    assert "- [1] [Ledger runbook](https://wiki.example.com/ledger?a=%281%29)" in shown["text"]


async def test_the_model_is_asked_once_however_the_view_fares(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    model = ScriptedModel()
    services = make_services(make_settings(double), filled, embedder, model)
    double.faults = [Fault("POST", status=503, what="final"), Fault("POST", status=504, what="final")]
    async with running_bot(services, double) as bot:
        await bot.deliver(message(double))
        await bot.settled()
    assert model.asked == 1
    assert len(double.texts(CHAT)) == 1
