"""Two hundred questions at once over ten conversations: none is lost, each is answered once, no limit is broken."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.pace import Pace
from bot.teams.paced import BUDGETS, OVER_BUDGET, PacedConnector
from bot.teams.port import Message, Place, Refused
from tests.teams.double import TeamsDouble
from tests.teams.parts import (
    QUESTION,
    ScriptedModel,
    WordEmbedder,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

QUESTIONS, CONVERSATIONS = 200, 10


async def test_a_burst_loses_none_and_answers_each_once(double: TeamsDouble, words: AsyncEngine) -> None:
    services = make_services(make_settings(double), words, WordEmbedder(), ScriptedModel())
    activities = []
    for number in range(QUESTIONS):
        at = number % CONVERSATIONS
        if at % 2:
            activities.append(mention(double, f"{QUESTION} ({number})", f"19:group-{at}@thread.v2", "groupChat"))
        else:
            place = {**message(double)["conversation"], "id": f"a:chat-{at}"}
            activities.append(message(double, f"{QUESTION} ({number})", conversation=place))
    async with running_bot(services, double) as bot:
        results = await asyncio.gather(*(bot.deliver(activity) for activity in activities))
        events = await bot.settled(QUESTIONS, timeout=100)
        answered = await bot.answers()
    assert [status for status, _ in results] == [200] * QUESTIONS
    assert {event.state for event in events} == {"done"}
    assert len(answered) == QUESTIONS
    for at in range(CONVERSATIONS):
        shown = double.texts(f"19:group-{at}@thread.v2" if at % 2 else f"a:chat-{at}")
        assert ["on-call engineer" in text for text in shown] == [True] * (QUESTIONS // CONVERSATIONS)
    # calls that left in time may arrive together, and a stream that waits for its turn keeps the next one out
    refused = Counter(violation.partition(" ")[0] for violation in double.violations)
    assert set(refused) <= {"429", "403"}
    assert refused["429"] <= len(double.requests) // 20


class Silent:
    """A connector that takes everything."""

    def __init__(self) -> None:
        self.taken = 0

    async def send(self, place: Place, message: Message, reply_to: str | None) -> str:
        self.taken += 1
        if self.taken == 3:
            raise Refused(429, "TooManyRequests", 5.0)
        return "id"


async def test_after_a_refusal_nobody_goes_early_and_a_long_wait_is_given_back() -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    silent = Silent()
    paced = PacedConnector(silent, Pace(BUDGETS, lambda: now, sleep))  # type: ignore[arg-type]
    place, other = (Place("https://x/", name, "28:b", "29:u") for name in ("a", "b"))
    outcomes = []
    for where in (place, place, place, place, other):
        try:
            outcomes.append(await paced.send(where, Message("x"), None))
        except Refused as error:
            outcomes.append(f"{error.code} {error.retry_after and int(error.retry_after >= 5)}")
    assert outcomes == ["id", "id", "TooManyRequests 1", f"{OVER_BUDGET} 1", "id"]
    now += 5.0
    assert await paced.send(place, Message("x"), None) == "id"


async def test_eight_calls_in_a_moment_are_spread() -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    paced = PacedConnector(Silent(), Pace(BUDGETS, lambda: now, sleep))  # type: ignore[arg-type]
    place = Place("https://x/", "a", "28:b", "29:u")
    went = []
    for _ in range(10):
        with contextlib.suppress(Refused):  # the third
            await paced.send(place, Message("x"), None)
        went.append(now)
        now += 1.0 if len(went) == 3 else 0.0  # what that one asked for
    assert went[7] - went[0] >= 1.0
