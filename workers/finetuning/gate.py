"""The gate: a new version against the one in force, on what neither was trained on. Pure arithmetic over
``measuring.measure``'s numbers, but for the check of answers against their passages.

A version passes with a gain in what it was made for, beyond doubt, and no loss beyond ``LIMITS`` in anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.evaluation.claims import Supports, claims, judge
from assistant.evaluation.results import CaseResult, Value, difference, ratio, yes_no
from assistant.evaluation.texts import rouge_l, token_f1, without_markers

Verdict = Literal["gain", "no gain", "loss"]


@dataclass(frozen=True, slots=True)
class Measure:
    """``limit``: the largest loss that is let through, in the measure's own unit; ``gains``: an improvement whose
    95 % interval lies beyond zero, and that is at least ``least``, is what a version can be promoted for.

    ``relative``: losses are shares of the value before. ``logs``: shown as exp of a mean (perplexity).
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    limit: float
    gains: bool = False
    least: float = 0.0
    relative: bool = False
    logs: bool = False


MEASURES = (
    Measure("perplexity", "Perplexity of held-out documents", "lower", 0.02, True, 0.01, relative=True, logs=True),
    Measure("preference", "Held-out pairs told apart by the implicit reward", "higher", 0.0, True, 0.02),
    Measure("reference_f1", "Token F1 with the reference answer", "higher", 0.03, True, 0.01),
    Measure("rouge_l", "ROUGE-L with the reference answer", "higher", 0.03),
    Measure("groundedness", "Claims that the passages carry", "higher", 0.05, True, 0.02),
    Measure("general", "General questions answered rightly", "higher", 0.05),
    Measure("general_perplexity", "Perplexity of general text", "lower", 0.10, relative=True, logs=True),
    Measure("seconds", "Seconds a token of an answer", "lower", 0.5, relative=True),
)

FEWEST = 5  # cases below which a measure says nothing: shown, and not judged


async def report(
    measured: Mapping[str, Any], wanted: Mapping[str, Any], supports: Supports, measures: Sequence[Measure] = MEASURES
) -> dict[str, Any]:
    """What is kept with the version: each measure before and after with the interval of their difference, the verdict,
    the reasons, and some answers of both to read."""
    before, after = [await cases(measured[arm], measured["before"], wanted, supports) for arm in ("before", "after")]
    rows = [row for measure in measures if (row := compared(measure, before, after)) is not None]
    verdict, reasons = decide(rows)
    if not measured["after"]["answers"]:
        reasons = [*reasons, "No held-out question with an answer was there, so answers were not compared."]
    return {"verdict": verdict, "reasons": reasons, "measures": rows, "answers": _to_read(measured, wanted)}


async def cases(
    found: Mapping[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any], supports: Supports
) -> dict[str, CaseResult]:
    """Case -> its counts, of one arm; both arms have the same cases in the same order."""
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for name, part in (("perplexity", "domain"), ("general_perplexity", "general_text")):
        for case, loss, tokens in found[part]:
            rows[f"{part}/{case}"] = {name: (loss, float(tokens))}
    for question, right, _ in found["general"]:
        rows[f"general/{question}"] = {"general": (float(right), 1.0)}
    for (case, chosen, rejected), (_, old_chosen, old_rejected) in zip(found["pairs"], before["pairs"], strict=True):
        margin = (chosen - old_chosen) - (rejected - old_rejected)
        rows[f"pairs/{case}"] = {"preference": (0.5, 1.0) if margin == 0 else yes_no(margin > 0)}
    asked = {question["id"]: question for question in wanted.get("questions", ())}
    for said in found["answers"]:
        rows[f"answers/{said['id']}"] = await _answer_counts(said, asked[said["id"]], supports)
    return {case: CaseResult(case, case, counts) for case, counts in rows.items()}


async def _answer_counts(
    said: Mapping[str, Any], question: Mapping[str, Any], supports: Supports
) -> dict[str, tuple[float, float]]:
    counts = {"seconds": (said["seconds"], float(max(1, said["tokens"])))}
    text = without_markers(said["text"])
    if question.get("reference"):
        reference = without_markers(question["reference"])
        counts["reference_f1"] = (token_f1(text, reference), 1.0)
        counts["rouge_l"] = (rouge_l(text, reference), 1.0)
    passages = dict(enumerate(question.get("passages", ()), start=1))
    if passages:
        verdicts = await judge(claims(said["text"]), passages, supports)
        # An answer without a claim carries nothing, and counts as one that nothing supports.
        counts["groundedness"] = (float(sum(v.grounded for v in verdicts)), float(len(verdicts) or 1))
    return counts


def compared(
    measure: Measure, before: Mapping[str, CaseResult], after: Mapping[str, CaseResult]
) -> dict[str, Any] | None:
    """One measure of both; None where neither has a case of it. ``change`` is signed as the measure is; ``loss`` is
    positive where it became worse."""
    names = [name for name, case in after.items() if measure.name in case.counts and name in before]
    old, new = ([arm[name] for name in names] for arm in (before, after))
    change = difference(old, new, measure.name) if names else None
    if change is None:
        return None
    first, second = (ratio(arm, measure.name) or 0.0 for arm in (old, new))
    shown = _shown(measure, first, second, change)
    sign = 1.0 if measure.better == "lower" else -1.0
    sure = shown["high"] < 0 if measure.better == "lower" else shown["low"] > 0
    loss = sign * shown["change"]
    judged = len(names) >= FEWEST
    return {
        "name": measure.name, "title": measure.title, "better": measure.better, "cases": len(names),
        **{key: _round(value) for key, value in shown.items()},
        "relative": measure.relative, "limit": measure.limit, "judged": judged,
        "gain": judged and measure.gains and sure and -loss >= measure.least,
        "loss": _round(loss), "lost": judged and loss > measure.limit + 1e-9,
    }  # fmt: skip


def _shown(measure: Measure, first: float, second: float, change: Value) -> dict[str, float]:
    """Before, after, and the change with its interval: of perplexities as a share, else in the measure's unit."""
    values = (change.value, change.low, change.high)
    if measure.logs:
        before, after = math.exp(min(first, 50.0)), math.exp(min(second, 50.0))
        moved = [math.expm1(value) for value in values]
    else:
        before, after = first, second
        moved = [value / first if measure.relative and first else value for value in values]
    return {"before": before, "after": after, "change": moved[0], "low": moved[1], "high": moved[2]}


def decide(rows: Sequence[Mapping[str, Any]]) -> tuple[Verdict, list[str]]:
    """The verdict, with a sentence for each measure that decided it."""
    lost = [f"{row['title']} got worse by {_amount(row, row['loss'])}; {_amount(row, row['limit'])} may be lost."
            for row in rows if row["lost"]]  # fmt: skip
    gained = [f"{row['title']} got better by {_amount(row, -row['loss'])} ({_interval(row)})."
              for row in rows if row["gain"]]  # fmt: skip
    if lost:
        return "loss", lost
    if gained:
        return "gain", gained
    return "no gain", ["Nothing that it was made for got better beyond doubt."]


def _to_read(measured: Mapping[str, Any], wanted: Mapping[str, Any], most: int = 5) -> list[dict[str, str]]:
    questions = {question["id"]: question for question in wanted.get("questions", ())}
    pairs = zip(measured["before"]["answers"], measured["after"]["answers"], strict=True)
    return [
        {
            "question": questions[new["id"]].get("question", ""), "before": old["text"][:600],
            "after": new["text"][:600], "reference": questions[new["id"]].get("reference", "")[:600],
        }
        for old, new in list(pairs)[:most]
    ]  # fmt: skip


def _amount(row: Mapping[str, Any], value: float) -> str:
    return f"{100 * value:.1f} %" if row["relative"] else f"{value:.3f}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"95 % interval of the change {_amount(row, row['low'])} to {_amount(row, row['high'])}"


def _round(value: float) -> float:
    return round(value, 5)
