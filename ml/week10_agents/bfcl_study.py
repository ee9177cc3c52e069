"""Scores by category: of the baseline, of SmolLM2 with and without the mask. No lesson here: counting."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ml.week10_agents.baseline import Chooser
from ml.week10_agents.bfcl import CATEGORIES, Call, Case
from ml.week10_agents.bfcl_match import mistake
from ml.week10_agents.constrained import Written
from ml.week10_agents.schema import Schema, valid
from ml.week10_agents.small_model import SmallModel, budget_for, calls_schema

THRESHOLDS = np.round(np.arange(0.0, 0.61, 0.1), 2)
SHARES = (0.5, 0.8, 1.1)


@dataclass(frozen=True)
class Score:
    """How many of ``cases`` were right, and in how many the function's names were right (whatever the arguments)."""

    right: int
    named: int
    cases: int

    @property
    def rate(self) -> float:
        """The share that is right."""
        return self.right / max(self.cases, 1)


def scores(cases: Sequence[Case], choose: Callable[[Case], Sequence[Call]]) -> dict[str, Score]:
    """By category."""
    right, named, total = Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        calls = choose(case)
        total[case.category] += 1
        right[case.category] += not mistake(case, calls)
        named[case.category] += sorted(name for name, _ in calls) == sorted(name for name, _ in case.truth)
    return {name: Score(right[name], named[name], total[name]) for name in CATEGORIES if total[name]}


def overall(by_category: Mapping[str, Score]) -> float:
    """The mean of the categories, each counting the same."""
    return float(np.mean([score.rate for score in by_category.values()]))


def fit(cases: Sequence[Case]) -> Chooser:
    """The baseline with the threshold and the share that score best on ``cases``."""
    plain = Chooser.learn(cases)
    tried = [
        dataclasses.replace(plain, threshold=float(threshold), share=share)
        for threshold in THRESHOLDS
        for share in SHARES
    ]
    return max(tried, key=lambda chooser: overall(scores(cases, chooser.calls)))


def halves(cases: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """Every other case of the file: one half to choose on, one to judge on."""
    listed = list(cases)
    return listed[::2], listed[1::2]


def parse(text: str) -> object:
    """The JSON of a model's whole text, a code fence around it forgiven; None where it is not JSON."""
    try:
        return json.loads(re.sub(r"\A\s*```(?:json)?|```\s*\Z", "", text))
    except ValueError:
        return None


def as_calls(found: object) -> list[Call]:
    """The calls in parsed JSON (one object, or a list of them), each once; none where it is something else."""
    calls = [
        (call["name"], call["arguments"])
        for call in (found if isinstance(found, list) else [found])
        if isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)
    ]
    return [call for place, call in enumerate(calls) if call not in calls[:place]]


@dataclass(frozen=True)
class Answered:
    """What SmolLM2 wrote for a case: whether it is JSON, fits the schema, is the right answer, and the calls in it."""

    case: Case
    written: Written
    parses: bool
    fits: bool
    right: bool
    calls: list[Call]


def judge(case: Case, written: Written, schema: Schema) -> Answered:
    """One answer, judged."""
    document = parse(written.text)
    fits, calls = document is not None and valid(document, schema), as_calls(document)
    return Answered(case, written, document is not None, fits, fits and not mistake(case, calls), calls)


def ask_masked(model: SmallModel, case: Case) -> tuple[Answered, bool]:
    """A case answered under the mask with one or more calls, and whether the model would call nothing if it might.

    If it would not, the answer that it gives then is the one that it gives when it must call: the two masks differ in
    nothing but the first bracket, so the second decoding is spared.
    """
    tools = case.tools()
    must, may = calls_schema(tools), calls_schema(tools, least=0)
    prompt, budget = model.prompt(case.question, tools), budget_for(must)
    written = model.constrained(prompt, may, budget)
    silent = written.text == "[]"
    return judge(case, model.constrained(prompt, must, budget) if silent else written, must), silent


def ask_freely(model: SmallModel, case: Case) -> Answered:
    """The same prompt without a mask."""
    tools = case.tools()
    return judge(case, model.free(model.prompt(case.question, tools)), calls_schema(tools))
