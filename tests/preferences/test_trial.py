"""A canary is ended by what people say of it: by proven good or harm, and by chance no more often than is promised."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, update
from structlog.testing import capture_logs

from assistant.commands import Caller, Commands
from assistant.commands.context import Context
from assistant.database import audit, preferences, votes
from assistant.database.preferences import HARMED, Version
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Vote
from assistant.database.votes import Thumb
from assistant.knowledge.audience import Audience
from assistant.preferences import showing
from assistant.preferences.deciding import Ended, decide
from assistant.preferences.policy import drawn
from assistant.preferences.trial import ALPHA, LEAST_VOTERS, LEAST_VOTES, MOST, NEEDED, proof
from assistant.queue import RunQueue
from tests.preferences.town import PEOPLE, THINGS, Town, asks

TEMPLATE = "voted_template"
LOOK = 10  # votes between two looks
CANARIES, LONG = 200, 400


def drawn_thumbs(random: np.random.Generator, count: int, share: float, liked: Sequence[float]) -> list[Thumb]:
    """Twenty people; ``liked``: how likely a thumb is up with the version, and without."""
    tried = random.random(count) < share
    up = random.random(count) < np.where(tried, liked[0], liked[1])
    return [Thumb(bool(a), share, bool(b), f"p{n % 25}") for n, (a, b) in enumerate(zip(tried, up, strict=True))]


def moody(random: np.random.Generator, count: int, share: float) -> list[Thumb]:
    """No effect, and thumbs that are anything but independent: moods of a person and of a week, who votes again and
    again, and a mean that drifts."""
    mood = random.random(25) < 0.5
    week = np.repeat(random.random(count // 40 + 1), 40)[:count]
    whose = random.integers(25, size=count) ** 2 // 25
    up = np.where(random.random(count) < 0.7, mood[whose], random.random(count) < week * np.linspace(0.2, 1, count))
    tried = random.random(count) < share
    return [Thumb(bool(a), share, bool(b), f"p{n}") for a, b, n in zip(tried, up, whose, strict=True)]


def looks(thumbs: Sequence[Thumb]) -> Iterator[Sequence[Thumb]]:
    return (thumbs[:end] for end in range(LOOK, len(thumbs) + 1, LOOK))


def first_decision(thumbs: Sequence[Thumb]) -> tuple[str | None, int]:
    for some in looks(thumbs):
        if (decision := proof(some).decision) is not None:
            return decision, len(some)
    return None, len(thumbs)


def naive(thumbs: Sequence[Thumb]) -> bool:
    """Whether who looks again and again and stops at 95 in 100 would ever have promoted."""
    for some in looks(thumbs):
        up = [np.array([one.up for one in some if one.tried is arm]) for arm in (True, False)]
        if min(map(len, up)) >= LEAST_VOTES:
            all_up = np.concatenate(up).mean()
            error = np.sqrt(all_up * (1 - all_up) * sum(1 / len(arm) for arm in up))
            if error and (up[0].mean() - up[1].mean()) / error > 1.645:
                return True
    return False


@pytest.mark.parametrize(("share", "kind"), [(0.5, "even"), (0.1, "even"), (0.5, "moody"), (0.1, "moody")])
def test_what_changes_nothing_is_promoted_no_more_often_than_promised(share: float, kind: str) -> None:
    random = np.random.default_rng(8)
    found = [
        drawn_thumbs(random, LONG, share, (0.8, 0.8)) if kind == "even" else moody(random, LONG, share)
        for _ in range(CANARIES)
    ]
    decisions = [first_decision(thumbs)[0] for thumbs in found]
    slack = 2.6 * np.sqrt(ALPHA * (1 - ALPHA) * CANARIES)  # 99 in 100, were the true rate all of ALPHA
    assert decisions.count("promote") <= ALPHA * CANARIES + slack
    assert decisions.count("rollback") <= ALPHA * CANARIES + slack
    if share == 0.5 and kind == "even":  # the same canaries would fool who looks without a bound
        assert sum(map(naive, found)) > ALPHA * CANARIES + slack


@pytest.mark.parametrize(("liked", "decision"), [((0.9, 0.6), "promote"), ((0.5, 0.8), "rollback")])
def test_good_and_harm_are_found(liked: tuple[float, float], decision: str) -> None:
    random = np.random.default_rng(5)
    found = [first_decision(drawn_thumbs(random, LONG, 0.5, liked)) for _ in range(60)]
    assert sum(one == decision for one, _ in found) >= 57
    assert all(one in (decision, None) for one, _ in found)
    assert np.median([votes for _, votes in found]) <= 120


def test_a_version_that_only_makes_people_vote_more_is_no_gain() -> None:
    """Twice as many thumbs with it, as many of them up as without."""
    random = np.random.default_rng(3)
    promoted = 0
    for _ in range(100):
        thumbs = [one for one in drawn_thumbs(random, 2 * LONG, 0.5, (0.8, 0.8)) if one.tried or random.random() < 0.5]
        promoted += first_decision(thumbs)[0] is not None
    assert promoted <= 10


def test_few_votes_and_few_voters_prove_nothing() -> None:
    good = [Thumb(n % 2 == 0, 0.5, n % 2 == 0, f"p{n % 7}") for n in range(200)]
    assert proof(good[: 2 * LEAST_VOTES - 2]).decision is None
    assert proof(good[: 2 * LEAST_VOTES]).decision == "promote"
    two = [Thumb(one.tried, one.share, one.up, f"p{n % (LEAST_VOTERS - 1)}") for n, one in enumerate(good)]
    assert proof(two).good > NEEDED or proof(two).tried[0] <= 2 * MOST
    assert proof(two).decision is None
    assert proof([]).good == 1.0


def test_one_voter_counts_so_often_and_no_more() -> None:
    thumbs = [Thumb(True, 0.5, True, "loud")] * 500 + [Thumb(False, 0.5, False, "other")] * 5
    found = proof(thumbs)
    assert (found.tried, found.others) == ((MOST, MOST), (5, 0))


@pytest.fixture
async def tried(sessions: Sessions, database_url: str) -> Any:
    town = Town(sessions, database_url, preferences="canary", preferences_share=0.5)
    version = await town.learn()
    assert version is not None
    assert (version.state, version.share) == ("canary", 0.5)
    yield town, version
    await town.close()


async def said(
    town: Town, version: Version, count: int, liked: Sequence[float], days_ago: float = 0.0, seed: int = 1
) -> None:
    """Conversations of one answer and one thumb; ``liked`` as above. Lots are drawn as questions draw them."""
    random = np.random.default_rng(seed)
    now = datetime.now(UTC) - timedelta(days=days_ago)
    answers, thumbs = [], []
    for n in range(count):
        lot = f"T1:C{seed}:{n}"
        arm = "canary" if drawn(version.id, lot) < 0.5 else "control"
        up = random.random() < liked[0 if arm == "canary" else 1]
        row = dict.fromkeys(("text", "model"), "") | dict.fromkeys(("prompt_tokens", "completion_tokens"), 0)
        row |= {name: [] for name in ("citations", "nearest", "retrieval")} | {"timings_ms": {}, "cost_usd": 0.0}
        answers.append(row | {
            "id": uuid.uuid4(), "platform": "slack", "conversation": lot, "asker": "slack:T1:U1",
            "audience": ["everyone"], "question": "?", "outcome": "answered", "created_at": now,
            "searched": {"canary": version.id, "arm": arm, "share": 0.5},
        })  # fmt: skip
        thumbs.append({"answer_id": answers[-1]["id"], "person": f"slack:T1:U{n % 25}", "value": 1 if up else -1,
                       "retrieval": [], "created_at": now + timedelta(seconds=n)})  # fmt: skip
    async with town.sessions.begin() as session:
        await session.execute(insert(Answer), answers)
        await session.execute(insert(Vote), thumbs)


async def decided(town: Town, **settings: Any) -> Ended | None:
    async with town.sessions.begin() as session:
        return await decide(session, town.settings.model_copy(update=settings))


async def in_chat(town: Town, text: str, language: str) -> str:
    commands = Commands(Context(town.settings, town.sessions, town.searcher, RunQueue(None), "m", "words"))
    caller = Caller(PEOPLE[0], "slack", Audience.everyone(), True, language, "channel:slack:T1:C1")
    return (await commands.run(text, caller)).text


async def test_simulated_readers_promote_what_they_like(tried: tuple[Town, Version]) -> None:
    """They ask, read what comes first, and like it where it is the guide: each conversation by its own lot."""
    town, version = tried
    for n in range(60):
        thing, person = THINGS[n % len(THINGS)], PEOPLE[n % len(PEOPLE)]
        answer = await town.ask(asks(thing), person, f"T1:C1:{n}")
        async with town.sessions() as session:
            row = (await session.execute(select(Answer).where(Answer.id == answer.id))).scalar_one()
        assert row.searched is not None
        arm = "canary" if drawn(version.id, f"T1:C1:{n}") < 0.5 else "control"
        assert (row.searched["canary"], row.searched["arm"], row.searched["share"]) == (version.id, arm, 0.5)
        liked = row.retrieval[0]["external_id"].endswith("guide.md")
        await town.vote(answer, person, 1 if liked else -1)
        if n < 20:  # the conversation goes on
            await town.vote(await town.ask(asks(thing), person, f"T1:C1:{n}"), PEOPLE[0], 1)
    with capture_logs() as logged:
        ended = await decided(town)
    assert ended is not None
    assert (ended.decision, ended.version.state, ended.version.share) == ("promote", "promoted", None)
    told = ended.version.report["trial"]
    assert told["good"] >= NEEDED
    assert told["canary"]["conversations"] + told["control"]["conversations"] == 60
    assert (told["canary"]["up"], told["control"]["up"]) == (told["canary"]["conversations"], 0)
    assert [(one["event"], one["decision"]) for one in logged] == [("preferences.decided", "promote")]
    await town.policies.refresh()
    assert await town.firsts() == ["guide"] * len(THINGS)
    async with town.sessions() as session:
        [entry] = [one for one in await audit.recent(session) if one.platform == "worker"]
        report = await showing.report(session, version.id)
    assert (entry.action, entry.target) == ("preferences promote", str(version.id))
    assert report["canary"]["proof"]["decision"] == "promote"
    shown = await in_chat(town, "preferences", "de")
    assert f"Die Stimmen haben Fassung {version.id} eingesetzt" in shown
    assert "20 zu 1 entscheidet" in shown
    assert "Votes have promoted version" in await in_chat(town, f"preferences report {version.id}", "en")
    assert await decided(town) is None


async def test_harm_takes_it_back_and_the_next_gain_waits(tried: tuple[Town, Version]) -> None:
    town, version = tried
    await said(town, version, 160, (0.4, 0.85))
    ended = await decided(town, preferences_decide="rollback")
    assert ended is not None
    assert (ended.decision, ended.version.state, ended.version.reason) == ("rollback", "retired", HARMED)
    await town.policies.refresh()
    assert await town.firsts() == ["diary"] * len(THINGS)
    await town.votes(THINGS[:1], PEOPLE[3:])
    again = await town.learn()
    assert again is not None
    assert again.state == "candidate"


async def test_people_may_keep_the_word(tried: tuple[Town, Version]) -> None:
    town, version = tried
    await said(town, version, 160, (0.95, 0.4))
    assert await decided(town, preferences_decide="off") is None
    assert await decided(town, preferences_decide="rollback") is None  # it is good
    assert await decided(town, preferences="off") is None
    async with town.sessions() as session:
        found = (await showing.status(session, town.settings))["trial"]
    assert found["proof"]["good"] >= NEEDED
    assert found["proof"]["decision"] is None
    one, other = await asyncio.gather(decided(town), decided(town))
    assert [one is None, other is None].count(True) == 1


async def test_only_votes_of_this_trial_count(tried: tuple[Town, Version]) -> None:
    """Not those from before it began, nor those from before another version ordered the others."""
    town, version = tried
    await said(town, version, 160, (0.95, 0.4), days_ago=1)
    assert await decided(town) is None
    await said(town, version, 160, (0.95, 0.4), seed=2)
    async with town.sessions.begin() as session:
        other = await preferences.add(
            session, uuid.uuid4(), state="candidate", embedding="words", model={}, report={}, votes=0, voters=0,
            pairs=0, fingerprint="", until=version.until,
        )  # fmt: skip
        await preferences.promote(session, other.id)
    assert await decided(town) is None
    async with town.sessions() as session:
        thumbs = await votes.first_thumbs(session, version.id, version.until)
    assert len(thumbs) == 160  # they are there


async def test_the_next_gain_waits_while_one_is_tried_and_not_for_ever(tried: tuple[Town, Version]) -> None:
    town, version = tried
    await town.votes(THINGS[:1], PEOPLE[3:])
    second = await town.learn()
    assert second is not None
    assert second.state == "candidate"
    async with town.sessions.begin() as session:
        table = preferences.PreferenceVersion
        await session.execute(
            update(table).where(table.id == version.id).values(tried_at=datetime.now(UTC) - timedelta(days=29))
        )
    await town.votes(THINGS[1:2], PEOPLE[3:])
    third = await town.learn()
    assert third is not None
    assert third.state == "canary"


async def test_another_share_is_the_same_trial(tried: tuple[Town, Version]) -> None:
    town, version = tried
    async with town.sessions.begin() as session:
        assert (await preferences.canary(session, version.id, 0.2)).tried_at == version.tried_at
        await preferences.rollback(session)
    async with town.sessions.begin() as session:
        again = await preferences.canary(session, version.id, 0.2)
    assert again.tried_at is not None
    assert version.tried_at is not None
    assert again.tried_at > version.tried_at
