"""DeepEval beside our formulas: the same scores on the same verdicts, and a metric of our own inside it.

The idea: DeepEval asks a language model for verdicts and scores them. ``Judge`` stands in for that model and says what
it was given to say, so that what is left of a metric is its formula, which can be compared with ``scores.py`` number by
number. Where no verdict is needed (exact match, pattern, JSON, tool calls) nothing stands in.

DeepEval reports its use to its makers unless told not to, and reads ``.env`` files: both are switched off here, before
it is imported, and a test runs it with sockets forbidden.

Left out: a real judge. Set one up as DeepEval's documentation says, and ``suite.py``'s cases become its test cases.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "1"
os.environ["DEEPEVAL_DISABLE_DOTENV"] = "1"
os.environ["DEEPEVAL_UPDATE_WARNING_OPT_IN"] = "0"

from deepeval import metrics as theirs
from deepeval.metrics import BaseMetric
from deepeval.models import DeepEvalBaseLLM
from deepeval.test_case import LLMTestCase, ToolCall, ToolCallParams
from pydantic import BaseModel

from ml.week11_guardrails import scores
from ml.week11_guardrails.scores import Call

Verdicts = Sequence[str]


class Judge(DeepEvalBaseLLM):  # type: ignore[misc]  # the package has no types
    """Says what it was given, one reply a question asked of it; the last one again when there is no other."""

    def __init__(self, replies: Iterable[dict[str, Any]]) -> None:
        self.replies = deque(replies)
        super().__init__("a double")

    def load_model(self) -> Judge:
        return self

    def generate(self, prompt: str) -> str:
        return json.dumps(self.replies.popleft() if len(self.replies) > 1 else self.replies[0])

    async def a_generate(self, prompt: str) -> str:
        return self.generate(prompt)

    def get_model_name(self) -> str:
        return "a double"


def reply(verdicts: Verdicts) -> dict[str, Any]:
    """A judge's answer with these verdicts, and as many claims and statements, so that every metric finds its own."""
    items = [{"verdict": v, "reason": "", "statement": "", "expected_output": ""} for v in verdicts]
    names = [f"claim {i}" for i, _ in enumerate(verdicts)]
    return {"verdicts": items, "claims": names, "statements": names, "truths": ["a truth"]}


def measured(metric: Any, **case: Any) -> float:
    """The score that DeepEval gives; it prints nothing."""
    test = LLMTestCase(**({"input": "a question", "actual_output": "an answer"} | case))
    return float(metric.measure(test, _show_indicator=False))


def judged(name: str, verdicts: Any) -> float:
    """DeepEval's score of ``verdicts`` under the metric ``name``; for contextual relevancy a list of lists."""
    replies = [reply(v) for v in verdicts] if name == "ContextualRelevancy" else [reply(verdicts)]
    contexts = [f"passage {i}" for i, _ in enumerate(verdicts)] or ["passage"]
    with warnings.catch_warnings():  # Hallucination says that its direction has changed (see scores.py)
        warnings.simplefilter("ignore", DeprecationWarning)
        metric = getattr(theirs, f"{name}Metric")(model=Judge(replies), include_reason=False, async_mode=False)
    return measured(metric, retrieval_context=contexts, context=contexts, expected_output="as expected")


OURS = {
    "Faithfulness": scores.faithfulness,
    "AnswerRelevancy": scores.answer_relevancy,
    "ContextualRecall": scores.contextual_recall,
    "ContextualRelevancy": scores.contextual_relevancy,
    "ContextualPrecision": lambda verdicts: scores.contextual_precision([v == "yes" for v in verdicts]),
    "Hallucination": scores.hallucination,
}


def random_verdicts(name: str, rng: np.random.Generator) -> Any:
    """Verdicts as the metric's judge may give them; none at all where the metric allows that."""
    allowed = ["yes", "no", "idk"] if name in ("Faithfulness", "AnswerRelevancy") else ["yes", "no"]

    def some(least: int) -> list[str]:
        return [str(v) for v in rng.choice(allowed, rng.integers(least, 8))]

    return [some(0) for _ in range(rng.integers(1, 5))] if name == "ContextualRelevancy" else some(0)


def random_calls(rng: np.random.Generator) -> list[Call]:
    """Up to four calls of three tools with few arguments, so that some are equal."""

    def one() -> Call:
        names = rng.choice(["place", "day"], rng.integers(0, 3), replace=False)
        return Call(str(rng.choice(["search", "weather", "page"])), {str(n): int(rng.integers(0, 2)) for n in names})

    return [one() for _ in range(rng.integers(0, 5))]


def tool_score(
    expected: Sequence[Call], called: Sequence[Call], arguments: bool, ordered: bool = False, exact: bool = False
) -> float:
    """DeepEval's ToolCorrectness."""
    metric = theirs.ToolCorrectnessMetric(
        model=Judge([{}]),
        evaluation_params=[ToolCallParams.INPUT_PARAMETERS] if arguments else [],
        should_consider_ordering=ordered,
        should_exact_match=exact,
        async_mode=False,
        include_reason=False,
    )
    wanted, given = (
        [ToolCall(name=c.name, input_parameters=c.arguments) for c in calls] for calls in (expected, called)
    )
    return measured(metric, tools_called=given, expected_tools=wanted)


def json_score(text: str, schema: type[BaseModel]) -> float:
    """DeepEval's JsonCorrectness: whether pydantic can read the text as ``schema``."""
    metric = theirs.JsonCorrectnessMetric(schema, model=Judge([{}]), async_mode=False, include_reason=False)
    return measured(metric, actual_output=text)


def text_scores(actual: str, expected: str, pattern: str) -> tuple[float, float]:
    """DeepEval's ExactMatch and PatternMatch."""
    exact = measured(theirs.ExactMatchMetric(), actual_output=actual, expected_output=expected)
    return exact, measured(theirs.PatternMatchMetric(pattern), actual_output=actual)


class Grounded(BaseMetric):  # type: ignore[misc]
    """Our groundedness as a DeepEval metric: the mean probability that an answer's sentences are supported.

    Any object with ``measure``, ``is_successful`` and a threshold fits into DeepEval's runner; no judge is needed.
    """

    _required_params: list[Any] = []  # noqa: RUF012

    def __init__(self, probability: Any, threshold: float = 0.5) -> None:
        """``probability`` (sentence, passages) -> 0 to 1."""
        self.probability, self.threshold = probability, threshold
        self.async_mode, self.include_reason, self.strict_mode, self.error = False, True, False, None

    def measure(self, test_case: Any, *_: Any, **__: Any) -> float:
        from ml.week11_guardrails.grounding import sentences

        each = {s: self.probability(s, test_case.retrieval_context) for s in sentences(test_case.actual_output)}
        self.score = float(np.mean(list(each.values()))) if each else 1.0
        self.reason = min(each, key=lambda s: each[s], default="nothing was said")  # the weakest sentence
        self.success = self.score >= self.threshold
        return self.score

    async def a_measure(self, test_case: Any, *args: Any, **named: Any) -> float:
        return self.measure(test_case)

    def is_successful(self) -> bool:
        return bool(self.success)

    @property
    def __name__(self) -> str:
        return "Grounded"
