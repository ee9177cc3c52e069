"""A burst in a busy channel, from the question to the API's bill: what the API charges stays below the cap."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from assistant.answering.aids import Aids
from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.models.client import OpenAIModel
from assistant.settings import Price, Settings, load_settings
from assistant.spending.budget import Budget
from assistant.telemetry import Metrics
from tests.core.parts import Page, WordEmbedder, shelve

PRICE = Price(prompt=10, completion=30)
MOST_SAID = 60  # tokens that an answer may have
PAGE = Page("rollback.md", "Rolling back", ("Run ferry rollback to roll back a deployment.",))


class Api:
    """Speaks as OpenAI does and keeps a bill: a token for every three characters it is sent, and all it may say."""

    def __init__(self) -> None:
        self.billed = 0.0
        self.requests = 0
        self.url = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = sum(len(message["content"]) // 3 for message in body["messages"])
        self.requests += 1
        self.billed += (prompt * PRICE.prompt + body["max_tokens"] * PRICE.completion) / 1_000_000
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in ("Run `ferry", " rollback` [1]."):
            await response.write(_event(piece))
            await asyncio.sleep(0.05)
        usage = {"prompt_tokens": prompt, "completion_tokens": body["max_tokens"], "total_tokens": 0}
        await response.write(_event(None, usage))
        await response.write(b"data: [DONE]\n\n")
        return response


def _event(content: str | None, usage: dict[str, int] | None = None) -> bytes:
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    chunk: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**chunk, "choices": choices, "usage": usage}).encode() + b"\n\n"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", api.complete)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield api
    await runner.cleanup()


def settings_of(api: Api, **caps: Any) -> Settings:
    return load_settings(
        _env_file=None, llm_base_url=api.url, llm_model="m", llm_prices={"m": PRICE}, llm_max_tokens=MOST_SAID, **caps
    )


async def ask(answering: Answering, number: int) -> Answer:
    audience = Audience(frozenset({"everyone", "channel:slack:T1:C1"}))
    asked = Question(
        "How do I roll back a deployment?", f"slack:T1:U{number}", audience, "slack", f"T1:C1:{number}.0"
    )  # fmt: skip
    async for event in answering.ask(asked):
        if isinstance(event, Done):
            return event.answer
    raise AssertionError("there was no answer")


@pytest.mark.parametrize("cap", ["cap_channel_day_usd", "cap_day_usd"])
async def test_fifty_questions_at_once_cost_no_more_than_the_cap(sessions: Sessions, api: Api, cap: str) -> None:
    await shelve(sessions, WordEmbedder(), PAGE)
    settings = settings_of(api, **{cap: 0.1})
    model, metrics = OpenAIModel(settings), Metrics()
    budgets = [Budget(sessions, settings, metrics) for _ in range(2)]  # as in two processes
    processes = [
        Answering(
            sessions, Searcher(sessions, WordEmbedder()), model, metrics, max_chars=4_000, timeout=60,
            aids=Aids(budget=budget),
        )
        for budget in budgets
    ]  # fmt: skip
    answers = await asyncio.gather(*(ask(processes[number % 2], number) for number in range(50)))
    await model.close()
    outcomes = Counter(answer.outcome for answer in answers)
    assert set(outcomes) == {Outcome.ANSWERED, Outcome.OVER_LIMIT}, outcomes
    assert 0.02 < api.billed <= 0.1
    assert api.requests == outcomes[Outcome.ANSWERED] < 50
    refused = next(answer for answer in answers if answer.outcome is Outcome.OVER_LIMIT)
    assert "budget" in refused.text
    assert "The next one begins at" in refused.text
    assert refused.nearest  # at least it is said where to look
    async with sessions() as session:
        cost = (await session.execute(text("SELECT sum(cost_usd), count(*), count(answer_id) FROM model_calls"))).one()
    assert float(cost[0]) == pytest.approx(api.billed)
    assert cost[1] == cost[2] == api.requests


async def test_without_a_cap_all_are_answered(sessions: Sessions, api: Api) -> None:
    await shelve(sessions, WordEmbedder(), PAGE)
    settings = settings_of(api)
    model, metrics = OpenAIModel(settings), Metrics()
    answering = Answering(
        sessions, Searcher(sessions, WordEmbedder()), model, metrics, max_chars=4_000, timeout=60,
        aids=Aids(budget=Budget(sessions, settings, metrics)),
    )  # fmt: skip
    answers = await asyncio.gather(*(ask(answering, number) for number in range(20)))
    await model.close()
    assert {answer.outcome for answer in answers} == {Outcome.ANSWERED}
    assert api.requests == 20
    assert api.billed > 0.02
