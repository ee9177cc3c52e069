"""What is in force is read beside the questions, and kept while it cannot be; an answer is given again under its own
version alone."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from assistant.answering import citations as citing
from assistant.answering.cache import AnswerCache, Manner
from assistant.answering.messages import Answer, Question
from assistant.answering.outcomes import Outcome
from assistant.database import answers, preferences, votes
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import _preferred
from assistant.preferences.policy import Policies
from assistant.services import _policies
from assistant.settings import load_settings
from assistant.telemetry import Metrics
from tests.core.parts import hit
from tests.preferences.town import Town, asks

TEMPLATE = "voted_template"


async def test_what_is_in_force_stays_while_the_database_is_away(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    version = await town.learn()
    assert version is not None
    policies = Policies(town.sessions, seconds=1e9)
    await policies.refresh()
    assert policies.chosen(None, "words").version == version.id

    @asynccontextmanager
    async def away() -> Any:
        raise OperationalError("SELECT", {}, Exception("away"))
        yield

    monkeypatch.setattr(policies, "_sessions", away)
    await policies.refresh()
    assert policies.chosen(None, "words").version == version.id
    assert policies.chosen(None, "another model").version is None


async def test_a_version_that_cannot_be_read_orders_nothing_and_stops_nobody(town: Town) -> None:
    async with town.sessions.begin() as session:
        made = await preferences.add(
            session, uuid.uuid4(), state="candidate", embedding="words", model={"version": 99}, report={}, votes=0,
            voters=0, pairs=0, fingerprint="", until=(await votes.voted(session))[-1].at,
        )  # fmt: skip
        await preferences.promote(session, made.id)
    await town.policies.refresh()
    assert town.policies.chosen(None, "words").version is None
    assert await town.first("gateway") == "diary"


async def test_switched_off_nothing_is_read() -> None:
    settings = load_settings(_env_file=None, preferences="off")
    assert await _policies(settings, None, None) is None  # type: ignore[arg-type]


async def test_an_answer_is_given_again_under_its_own_version_alone(town: Town) -> None:
    cache = AnswerCache(town.sessions, town.embedder, town.settings, Metrics(), model="m", passages=10)
    question = Question(asks("gateway"), "slack:T1:U1", Audience.everyone(), "slack", "C1")
    hits = (await town.searcher.search(question.text, audience=question.audience, limit=20)).hits
    cited = tuple(citing.citation(n, one, one.text) for n, one in enumerate(hits[:2], start=1))
    answer = Answer(uuid.uuid4(), Outcome.ANSWERED, "So [1].", cited)
    async with town.sessions.begin() as session:
        await answers.save(session, question, answer, [])
    versions = (None, 1, 2)
    assert await cache.keep(question, question.text, hits, Manner("en", preferences=1), answer)
    found = [
        await cache.find(question, question.text, hits, Manner("en", preferences=version), uuid.uuid4())
        for version in versions
    ]
    assert [one is not None for one in found] == [False, True, False]


def test_votes_have_their_say_after_a_cross_encoder_too() -> None:
    from assistant.knowledge.first_look import Look

    looks = (Look(0, 0, 0.9), Look(0, 0, 0.8, moved=2.0), Look(0, 0, 0.7, moved=-1.0))
    hits = tuple(hit(n, "text", score=score, look=look) for n, (score, look) in enumerate(
        zip((0.9, 0.8, 0.7), looks, strict=True), start=1))  # fmt: skip
    assert [one.chunk_id for one in _preferred(hits, 0.1)] == [2, 1, 3]
    assert [one.score for one in _preferred(hits, 0.1)] == [0.9, 0.8, 0.7]  # they stay with the places
    assert [one.chunk_id for one in _preferred(hits, 0.0)] == [1, 2, 3]
    assert np.isfinite([one.score for one in _preferred(hits, 0.1)]).all()
