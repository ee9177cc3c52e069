"""Everything at once, by a seed: events come several times, late and out of order, and the bot is killed repeatedly.

Whatever happens, each question ends in exactly one visible answer, and each that was taken back in none.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.strings import say
from tests.leases import end_leases
from tests.teams.conftest import Children
from tests.teams.double import Fault, TeamsDouble
from tests.teams.parts import (
    DOCUMENTS,
    QUESTION,
    ScriptedModel,
    WordEmbedder,
    changed,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

LUNCH = "When is lunch served in the canteen?"
SALARY = "What is the salary band of a staff engineer, which is reviewed in March?"
ANSWERS = {QUESTION: "on-call engineer", LUNCH: "noon until two", SALARY: "reviewed in March"}
KILLS = 4
PLACEHOLDERS = {say("teams.looking"), say("teams.more")}


@dataclass
class Scenario:
    """What one person does in one conversation, and what is to be seen at the end."""

    conversation: str
    activities: list[dict[str, Any]]
    expected: str  # words of the one answer; "" for none
    private: bool = False
    delivered: set[int] = field(default_factory=set)


def scenarios(double: TeamsDouble) -> list[Scenario]:
    made = []
    for number in range(3):
        chat, group = f"a:chat-{number}", f"19:group-{number}@thread.v2"
        place = {"id": chat, "conversationType": "personal", "tenantId": message(double)["conversation"]["tenantId"]}
        asked = message(double, QUESTION, conversation=place)
        made.append(Scenario(chat, [asked], ANSWERS[QUESTION]))
        other = message(double, QUESTION, conversation={**place, "id": f"{chat}-edited"})
        made.append(Scenario(f"{chat}-edited", [other, changed(other, LUNCH)], ANSWERS[LUNCH]))
        gone = message(double, QUESTION, conversation={**place, "id": f"{chat}-deleted"})
        made.append(Scenario(f"{chat}-deleted", [gone, changed(gone, None)], ""))
        made.append(Scenario(group, [mention(double, QUESTION, group, "groupChat")], ANSWERS[QUESTION]))
        secret = f"19:secret-{number}@thread.v2"
        made.append(Scenario(secret, [mention(double, SALARY, secret, "groupChat")], ANSWERS[SALARY], private=True))
        said = message(double, "/status", conversation={**place, "id": f"{chat}-command"})
        made.append(Scenario(f"{chat}-command", [said], str(len(DOCUMENTS))))
    return made


def deliveries(found: list[Scenario], chance: random.Random) -> list[tuple[float, Scenario, int]]:
    """When each activity is delivered: at least once, at most four times, in any order."""
    plan = []
    for scenario in found:
        for at in range(len(scenario.activities)):
            plan += [(chance.uniform(0.0, 6.0), scenario, at) for _ in range(chance.randint(1, 4))]
    return sorted(plan, key=lambda entry: entry[0])


async def deliver(double: TeamsDouble, urls: list[str], when: float, scenario: Scenario, at: int) -> None:
    """As Teams does: until the activity was acknowledged."""
    await asyncio.sleep(when)
    headers = {"Authorization": f"Bearer {double.token()}"}
    async with aiohttp.ClientSession() as http:
        for _ in range(100):
            try:
                async with http.post(urls[-1], json=scenario.activities[at], headers=headers) as response:
                    if response.status == 200:
                        scenario.delivered.add(at)
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise AssertionError("never acknowledged")


@pytest.mark.parametrize("seed", [20261125])
async def test_each_question_ends_in_exactly_one_answer(
    seed: int, double: TeamsDouble, words: AsyncEngine, words_url: str, children: Children
) -> None:
    chance = random.Random(seed)
    found = scenarios(double)
    urls = [await children.start(double, words_url)]
    plan = [
        asyncio.create_task(deliver(double, urls, when, scenario, at))
        for when, scenario, at in deliveries(found, chance)
    ]
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.6, 1.6))
        double.faults += [
            Fault(chance.choice(("POST", "PUT")), status=chance.choice((429, 502, 503)), retry_after="0.3")
        ]
        await children.kill()
        await end_leases(words_url)
        urls.append(await children.start(double, words_url))
    await asyncio.gather(*plan)
    await children.kill()
    await end_leases(words_url)
    services = make_services(make_settings(double), words, WordEmbedder(), ScriptedModel())
    async with running_bot(services, double) as bot:
        count = len({event.message_key for event in await bot.events()})
        events = await bot.settled(count, timeout=60)
        await asyncio.sleep(0.5)
    assert {event.state for event in events} <= {"done", "cancelled"}, [event.error for event in events]
    for scenario in found:
        assert len(scenario.delivered) == len(scenario.activities)
        shown = double.whispers(scenario.conversation) if scenario.private else double.messages(scenario.conversation)
        texts = [activity["text"] for activity in shown if activity["text"] not in PLACEHOLDERS]
        assert [scenario.expected in text for text in texts] == [True] * bool(scenario.expected), (scenario, texts)
        if scenario.private:
            public = set(double.texts(scenario.conversation)) - PLACEHOLDERS
            assert public == {say("teams.private", name="Mia")}
