"""Learning from votes, from the table of votes to a version that is in force, waits, or was refused.

    votes -> the questions once more (``replay``) -> pairs (``pairs``) -> a model (``model``) -> the gate (``gate``)

Nothing is open while that goes on; one short transaction at the end keeps the version, and with it what becomes of it.
The same votes make the same version again, so nothing is made of them twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession
from threadpoolctl import threadpool_limits

from assistant.database import preferences
from assistant.database import votes as voting
from assistant.database.preferences import Version
from assistant.database.session import Sessions
from assistant.database.votes import Voted
from assistant.errors import AlmanacError
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.search import Searcher
from assistant.preferences import changes
from assistant.preferences.gate import Evidence, Order, Verdict, base, judged, with_moves
from assistant.preferences.model import VERSION, BadLearned, Learned
from assistant.preferences.pairs import Opinion, estimate_eta, fading, once, pairs_of
from assistant.preferences.replay import Replay, Replayer, places
from assistant.preferences.simulation import simulate
from assistant.settings import Settings
from assistant.strings import say

MOST_VOTES = 5_000  # the newest: older ones weigh little
LATELY = 100  # questions that were asked last, looked at for what changes
TRIED = timedelta(days=28)  # so long a canary may take until a newer gain takes its place
STEP = 10  # questions between two words on how far it is

Progress = Callable[[int, int], Awaitable[None]]  # done, in all


class NothingLearned(AlmanacError):
    """There is nothing to learn from; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What learning needs of the process that it runs in."""

    settings: Settings
    sessions: Sessions
    searcher: Searcher
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class Made:
    """What is to be kept as a version."""

    values: dict[str, Any]
    passed: bool


async def make(parts: Parts, progress: Progress, simulated: bool = True) -> Made | None:
    """Learn from the votes as they are now; None where the last version was made of the same ones. ``simulated``: the
    report also says what would have come of readers whose minds are known.

    Raises ``NothingLearned``.
    """
    embedding = pinned(parts.embedder).name
    async with parts.sessions() as session:
        votes = (await voting.voted(session))[-MOST_VOTES:]
        made = await preferences.versions(session, limit=1)
    if not votes:
        raise NothingLearned("Nobody has voted on an answer yet.")
    fingerprint = _fingerprint(votes, embedding)
    if made and made[0].fingerprint == fingerprint:
        return None
    evidence = await gathered(parts, votes, embedding, progress)
    if not evidence.pairs:
        raise NothingLearned("No vote is about an answer whose passages can still be found.")
    order, since = await _in_force(parts.sessions, embedding)
    verdict, learned = await asyncio.to_thread(_learned, evidence, order, since)
    lately = await _asked_lately(parts)
    report = {
        **_about(evidence, votes), "verdict": verdict_json(verdict),
        "effects": {name: round(value, 4) for name, value in learned.effects().items()},
        "changes": await asyncio.to_thread(changes.found, evidence, learned, lately, _private(votes)),
        "simulation": await asyncio.to_thread(_simulated, evidence, parts.settings) if simulated else None,
    }  # fmt: skip
    return Made(
        {
            "embedding": embedding, "model": orjson.loads(learned.to_json()), "report": report,
            "votes": len(evidence.counted), "voters": evidence.voters, "pairs": len(evidence.pairs),
            "fingerprint": fingerprint, "until": votes[-1].at,
            "state": "candidate" if verdict.passed else "refused", "reason": sentence(verdict),
        },
        verdict.passed,
    )  # fmt: skip


async def keep(session: AsyncSession, run_id: uuid.UUID, made: Made, settings: Settings) -> Version:
    """In one transaction: the version, and what the settings make of one that is a gain. After a rollback it waits:
    what was taken back does not come back by itself. So it does while another is tried: votes on one that is changed
    every day would prove nothing."""
    version = await preferences.add(session, run_id, **made.values)
    if version.state != "candidate" or not made.passed or await preferences.held_back(session):
        return version
    if settings.preferences == "promote":
        return await preferences.promote(session, version.id)
    if settings.preferences == "canary" and not await _tried_lately(session):
        return await preferences.canary(session, version.id, settings.preferences_share)
    return version


async def _tried_lately(session: AsyncSession) -> bool:
    trial = await preferences.trial(session)
    return trial is not None and datetime.now(UTC) - trial[1] < TRIED


async def gathered(parts: Parts, votes: Sequence[Voted], embedding: str, progress: Progress) -> Evidence:
    """The votes' questions, searched for once more, and what follows from the votes."""
    replayer = Replayer(parts.searcher, parts.sessions)
    asked: dict[Hashable, Voted] = {question_of(vote): vote for vote in votes}
    replays: dict[Hashable, Replay] = {}
    for done, (question, vote) in enumerate(asked.items()):
        if done % STEP == 0:
            await progress(done, len(asked))
        found = await replayer.replay(vote.question, vote.audience, vote.searched)
        if found is not None:
            replays[question] = found
    await progress(len(asked), len(asked))
    opinions = once([
        Opinion(question, vote.person, vote.value, vote.at,
                places(vote.retrieval, vote.cited, replays[question]), vote.reason, topic_of(vote))
        for vote in votes
        if (question := question_of(vote)) in replays
    ])  # fmt: skip
    eta = estimate_eta(opinions)
    now, half_life = datetime.now(UTC), parts.settings.votes_half_life_days
    pairs = pairs_of(opinions, now, half_life, eta)
    voted = {pair.question for pair in pairs}
    kept = {key: one for key, one in replays.items() if key in voted}
    return Evidence(kept, opinions, [fading(one.at, now, half_life) for one in opinions], pairs, eta, embedding)


async def _asked_lately(parts: Parts) -> list[Replay]:
    replayer = Replayer(parts.searcher, parts.sessions)
    async with parts.sessions() as session:
        asked = await voting.asked_lately(session, LATELY)
    found = [await replayer.replay(*one) for one in asked]
    return [replay for replay in found if replay is not None]


def _private(votes: Sequence[Voted]) -> set[Hashable]:
    """The questions that were answered to their askers alone: they teach, and no report tells them."""
    told = {question_of(vote) for vote in votes if not vote.private}
    return {question_of(vote) for vote in votes} - told


def topic_of(vote: Voted) -> tuple[str, str]:
    """The words that were searched for, and where."""
    searched = vote.searched or {}
    query = " ".join(str(searched.get("query") or vote.question).casefold().split())
    narrowed = orjson.dumps([searched.get("filters"), searched.get("sources")], option=orjson.OPT_SORT_KEYS)
    return query, narrowed.decode()


def question_of(vote: Voted) -> Hashable:
    """A topic as some readers ask about it: others find other passages."""
    return *topic_of(vote), tuple(sorted(vote.audience))


def _learned(evidence: Evidence, order: Order, since: datetime | None) -> tuple[Verdict, Learned]:
    with threadpool_limits(1):  # the matrices are small: several threads would wait for each other longer than work
        learned = evidence.learn(evidence.counted)
        assert learned is not None
        return judged(evidence, order, since, learned), learned


def _simulated(evidence: Evidence, settings: Settings) -> dict[str, Any]:
    with threadpool_limits(1):
        return simulate(evidence, settings.votes_half_life_days)


async def _in_force(sessions: Sessions, embedding: str) -> tuple[Order, datetime | None]:
    """How questions are ranked now, and until when the votes were that this was learned from."""
    async with sessions() as session:
        promoted = next((one for one in await preferences.in_force(session) if one.state == "promoted"), None)
        if promoted is None or promoted.embedding != embedding:
            return base, None
        version = await preferences.find(session, promoted.id)
        model = await preferences.model_of(session, promoted.id)
    try:
        return with_moves(Learned.from_json(orjson.dumps(model).decode())), version.until
    except BadLearned:
        return base, None


def _fingerprint(votes: Sequence[Voted], embedding: str) -> str:
    told = [(str(vote.answer_id), vote.person, vote.value, vote.at.isoformat()) for vote in votes]
    return hashlib.sha256(repr((VERSION, embedding, told)).encode()).hexdigest()[:32]


def _about(evidence: Evidence, votes: Sequence[Voted]) -> dict[str, Any]:
    counted = [evidence.opinions[number] for number in evidence.counted]
    return {
        "votes": {
            "there": len(votes), "counted": len(counted), "up": sum(one.value > 0 for one in counted),
            "down": sum(one.value < 0 for one in counted), "voters": evidence.voters,
            "questions": len(evidence.replays),
        },
        "eta": round(evidence.eta, 3),
    }  # fmt: skip


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "passed": verdict.passed, "refusal": verdict.refusal, "values": dict(verdict.values),
        "held_out": verdict.held_out.document() if verdict.held_out else None,
        "newest": verdict.newest.document() if verdict.newest else None,
    }  # fmt: skip


def sentence(verdict: Verdict) -> str | None:
    """Why it was refused."""
    return None if verdict.refusal is None else say(f"preferences.{verdict.refusal}", **verdict.values)


def said(version: Version, language: str) -> str:
    """Why a version was refused, in another language."""
    verdict = version.report.get("verdict") or {}
    if not verdict.get("refusal"):
        return version.reason or ""
    return say(f"preferences.{verdict['refusal']}", language, **verdict["values"])
