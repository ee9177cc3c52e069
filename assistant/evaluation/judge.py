"""A language model as the judge of answers, through DeepEval: optional, and beside the measures that need none.

DeepEval is not among the product's packages (its bounds on click and rich exclude ours): where it is missing, nothing
else is. It reports its use to its makers and reads ``.env`` files unless told not to; both are switched off before it
is imported. The judge is the configured model.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import openai

from assistant.answering.messages import NOTHING_USED, Usage
from assistant.answering.outcomes import Outcome
from assistant.errors import AlmanacError, ModelError
from assistant.evaluation.answers import Asked
from assistant.evaluation.results import Metric
from assistant.evaluation.telling import Tell, each, silently
from assistant.evaluation.texts import without_markers
from assistant.models.endpoint import Endpoint
from assistant.settings import Settings

MISSING = "The judge needs the package deepeval, which requirements-learn.lock pins."
METRICS = (
    Metric("judge_faithfulness", "Faithfulness (judge)"),
    Metric("judge_relevancy", "Answer relevancy (judge)"),
    Metric("judge_context_precision", "Contextual precision (judge)"),
)
TOKENS = 2_000
AT_ONCE = 4
_QUIET = {
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "DEEPEVAL_DISABLE_DOTENV": "1",
    "DEEPEVAL_UPDATE_WARNING_OPT_IN": "0",
}


class NoJudge(AlmanacError):
    """There is no DeepEval, or no model that could judge."""


@dataclass(frozen=True, slots=True)
class Judged:
    """``failed``: judgements that the judge gave no usable answer to, each with its reason."""

    asked: list[Asked]
    usage: Usage
    failed: list[str]


def available() -> bool:
    return importlib.util.find_spec("deepeval") is not None


def check(settings: Settings) -> None:
    """Raises ``NoJudge`` where nobody could judge: to be asked before minutes of work rather than after."""
    if not settings.has_model:
        raise NoJudge("The judge is the configured language model, and ALMANAC_LLM_MODEL names none.")
    if not available():
        raise NoJudge(MISSING)


async def judge(settings: Settings, asked: Sequence[Asked], tell: Tell = silently) -> Judged:
    """The same answers with what the judge says of each; a judgement that fails leaves its metric out."""
    check(settings)
    os.environ.update(_QUIET)
    endpoint = Endpoint(settings)
    spent: list[Usage] = []
    failed: list[str] = []
    answered = [one for one in asked if one.answer.outcome is Outcome.ANSWERED]
    try:
        model = _model(endpoint, spent)
        results = await each(answered, lambda one: _judged(one, model, failed), AT_ONCE, "Judging", tell)
    finally:
        await endpoint.close()
    by_id = {found.case.id: found for found in results}
    return Judged([by_id.get(one.case.id, one) for one in asked], sum(spent, NOTHING_USED), failed)


async def _judged(asked: Asked, model: Any, failed: list[str]) -> Asked:
    from deepeval.test_case import LLMTestCase

    case = LLMTestCase(
        input=asked.case.question,
        actual_output=without_markers(asked.answer.text),
        expected_output=asked.case.reference or None,
        retrieval_context=list(asked.context),
    )
    scores: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name, metric in _metrics(model, asked):
        try:
            scores[name] = float(await metric.a_measure(case, _show_indicator=False))
            reasons[name] = str(metric.reason or "")[:500]
        except (ModelError, ValueError, TypeError, KeyError) as error:  # what it said is no verdict
            failed.append(f"{asked.case.id}: {name} was not judged ({type(error).__name__}).")
    return replace(asked, judged=scores, reasons=reasons)


def _metrics(model: Any, asked: Asked) -> list[tuple[str, Any]]:
    from deepeval import metrics

    found: list[tuple[str, Any]] = [("judge_relevancy", metrics.AnswerRelevancyMetric(model=model))]
    if asked.context:
        found.append(("judge_faithfulness", metrics.FaithfulnessMetric(model=model)))
        if asked.case.reference:
            found.append(("judge_context_precision", metrics.ContextualPrecisionMetric(model=model)))
    return found


def _model(endpoint: Endpoint, spent: list[Usage]) -> Any:
    """DeepEval's base class is only there once DeepEval is imported."""
    from deepeval.models import DeepEvalBaseLLM

    class Judge(DeepEvalBaseLLM):  # type: ignore[misc]  # the package has no types
        def load_model(self) -> Judge:
            return self

        def get_model_name(self) -> str:
            return endpoint.name

        def generate(self, prompt: str) -> str:
            raise NotImplementedError("The judge is asked asynchronously.")

        async def a_generate(self, prompt: str) -> str:
            body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS}
            try:
                completion = await endpoint.once(body, None, "judge")
            except (openai.OpenAIError, ValueError) as error:
                raise ModelError(f"The judge did not answer ({type(error).__name__}).") from error
            spent.append(endpoint.usage(completion) or NOTHING_USED)
            return completion.text

    return Judge(endpoint.name)
