"""The judge of answers: DeepEval on the configured endpoint, here a server of our own that says what it is told to."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from assistant.answering.messages import Answer
from assistant.answering.outcomes import Outcome
from assistant.evaluation import judge as judging
from assistant.evaluation.answers import Asked, result
from assistant.evaluation.cases import AnswerCase
from assistant.evaluation.judge import MISSING, NoJudge, judge
from assistant.settings import Settings, load_settings

pytestmark = [
    pytest.mark.skipif(not judging.available(), reason="DeepEval is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of DeepEval and what it imports
]
PRICES = {"judge-1": {"prompt": 1.0, "completion": 2.0}}


@asynccontextmanager
async def endpoint(reply: Callable[[str], tuple[int, str]]) -> AsyncIterator[tuple[Settings, list[str]]]:
    """A server of chat completions: ``reply`` makes (status, text) of a prompt; what it was asked is written down."""
    prompts: list[str] = []

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        prompts.append(body["messages"][0]["content"])
        status, text = reply(prompts[-1])
        if status != 200:
            return web.json_response({"error": {"message": text}}, status=status)
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices,
             "usage": usage}
        )  # fmt: skip

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        url = f"http://127.0.0.1:{port}/v1"
        yield load_settings(llm_base_url=url, llm_model="judge-1", llm_prices=PRICES), prompts
    finally:
        await runner.cleanup()


def asked(name: str, outcome: Outcome = Outcome.ANSWERED, reference: str = "Within 45 minutes.") -> Asked:
    answer = Answer(uuid.uuid4(), outcome, f"{name}: within 45 minutes [1]. And there is soup [1].")
    case = AnswerCase(name, "How long?", reference)
    return Asked(case, answer, 0.1, {}, ["Ledger: 45 minutes.", "Soup is at noon."])


def verdicts(prompt: str) -> tuple[int, str]:
    """Two claims or statements, one of them wrong; of two passages, the first one helps."""
    ruled = [{"verdict": "yes", "reason": ""}, {"verdict": "no", "reason": "made up"}]
    everything: dict[str, Any] = {
        "verdicts": ruled, "claims": ["a", "b"], "truths": ["t"], "statements": ["a", "b"], "reason": "One is made up.",
    }  # fmt: skip
    return 200, f"Here you are:\n{json.dumps(everything)}"


async def test_the_judge_scores_answers_on_the_configured_endpoint() -> None:
    async with endpoint(verdicts) as (settings, prompts):
        found = await judge(
            settings, [asked("one"), asked("none", Outcome.NOT_IN_DOCUMENTS), asked("two", reference="")]
        )
    [one, none, two] = found.asked
    assert found.failed == []
    # One of two claims is supported, one of two statements relevant; the helpful passage is the first.
    assert one.judged == {"judge_faithfulness": 0.5, "judge_relevancy": 0.5, "judge_context_precision": 1.0}
    assert one.reasons["judge_faithfulness"] == "One is made up."
    assert result(one).counts["judge_faithfulness"] == (0.5, 1.0)
    assert result(one).detail["judge"]["judge_relevancy"] == "One is made up."
    assert none.judged == {}  # nothing was said that could be judged
    assert set(two.judged) == {
        "judge_faithfulness",
        "judge_relevancy",
    }  # passages are held against a reference
    assert any("within 45 minutes. And there is soup." in prompt for prompt in prompts)  # without markers
    assert found.usage.prompt_tokens == 1_000 * len(prompts)
    assert found.usage.cost_usd == pytest.approx(len(prompts) * 0.0012)


@pytest.mark.parametrize("broken", [(200, "I would rather not say."), (500, "out of memory"), (200, '{"claims": 1}')])
async def test_a_judge_that_says_nothing_usable_leaves_its_metrics_out(broken: tuple[int, str]) -> None:
    async with endpoint(lambda _prompt: broken) as (settings, _):
        found = await judge(settings, [asked("one")])
    assert found.asked[0].judged == {}
    assert len(found.failed) == 3
    assert all(sentence.startswith("one: judge_") for sentence in found.failed)


async def test_without_a_model_or_deepeval_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        NoJudge, match=r"^The judge is the configured language model, and ALMANAC_LLM_MODEL names none\.$"
    ):
        await judge(load_settings(), [asked("one")])
    monkeypatch.setattr(judging.importlib.util, "find_spec", lambda _name: None)
    settings = load_settings(llm_base_url="http://127.0.0.1:1/v1", llm_model="judge-1")
    with pytest.raises(NoJudge) as caught:
        await judge(settings, [asked("one")])
    assert str(caught.value) == MISSING
