"""The formulas behind evaluation metrics, once a judge has spoken.

The idea: "faithfulness" or "contextual recall" is two things: a judge (mostly a language model) that gives a verdict on
each claim or passage, and a formula that turns verdicts into a number. The judge is uncertain and dear, the formula is
arithmetic, and it pays to know which: two libraries' "relevancy" may differ in the formula alone.

    faithfulness, answer relevancy    share of claims not denied ("idk" passes)          nothing said: 1
    hallucination                     share of contexts agreed with (until 4.3: denied)  no context:   1
    contextual recall, relevancy      share of "yes"                                     none:         0
    contextual precision              mean over the relevant ranks k of (relevant among the first k) / k: AP of week 9

Proven equal to DeepEval on random verdicts and calls (``with_deepeval.py``, tests). Left out: its G-Eval (a rubric for
a judge) and its conversational metrics.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple


def share(verdicts: Sequence[str], passing: Collection[str], empty: float) -> float:
    """The share of ``verdicts`` ("yes", "no", "idk") among ``passing``; ``empty`` where there are none."""
    return sum(verdict in passing for verdict in verdicts) / len(verdicts) if verdicts else empty


def faithfulness(verdicts: Sequence[str]) -> float:
    """One verdict a claim of the answer: do the passages support it?"""
    return share(verdicts, ("yes", "idk"), 1.0)


def answer_relevancy(verdicts: Sequence[str]) -> float:
    """One verdict a statement of the answer: does it bear on the question?"""
    return share(verdicts, ("yes", "idk"), 1.0)


def contextual_recall(verdicts: Sequence[str]) -> float:
    """One verdict a sentence of the reference answer: do the passages hold it?"""
    return share(verdicts, ("yes",), 0.0)


def contextual_relevancy(verdicts: Sequence[Sequence[str]]) -> float:
    """Verdicts on the statements of each passage: do they bear on the question? All statements weigh the same."""
    return share([verdict for passage in verdicts for verdict in passage], ("yes",), 0.0)


def hallucination(verdicts: Sequence[str]) -> float:
    """One verdict a context: "yes" where the answer agrees with it. Versions before 4.3 gave one minus this, under the
    same name: a threshold that is carried over passes everything that it used to stop."""
    return share(verdicts, ("yes",), 1.0)


def contextual_precision(relevant: Sequence[bool]) -> float:
    """Average precision of a ranking: sum over relevant k of precision@k, by the number of relevant ones."""
    hits, total = 0, 0.0
    for k, good in enumerate(relevant, 1):
        if good:
            hits += 1
            total += hits / k
    return total / hits if hits else 0.0


def exact_match(actual: str, expected: str) -> float:
    return float(actual.strip() == expected.strip())


def pattern_match(actual: str, pattern: str, ignore_case: bool = False) -> float:
    """1 where the whole of the text matches."""
    return float(bool(re.fullmatch(pattern.strip(), actual.strip(), re.IGNORECASE if ignore_case else 0)))


# ---- tool calls ----
class Call(NamedTuple):
    """A tool that was called, or should have been."""

    name: str
    arguments: dict[str, Any] = {}  # noqa: RUF012  read only


def argument_score(expected: dict[str, Any], called: dict[str, Any]) -> float:
    """The share of all argument names whose values are equal; inside nested objects, likewise."""
    if expected == called:
        return 1.0
    names, total = expected.keys() | called.keys(), 0.0
    for name in expected.keys() & called.keys():
        if expected[name] == called[name]:
            total += 1 / len(names)
        elif isinstance(expected[name], dict) and isinstance(called[name], dict):
            total += argument_score(expected[name], called[name]) / len(names)
    return total


def call_score(expected: Call, called: Call, arguments: bool) -> float:
    """How well one call answers one expectation: its name, and its arguments where they count."""
    if expected.name != called.name:
        return 0.0
    return argument_score(expected.arguments, called.arguments) if arguments else 1.0


def tools_in_any_order(
    expected: Sequence[Call], called: Sequence[Call], arguments: bool = False, by_value: bool = False
) -> float:
    """The mean over expectations of the best call still free, taken in order, greedily.

    Each *call* is used once. With ``by_value`` each *value* is, as in DeepEval: two equal calls then count as one.
    """
    if not expected:
        return float(not called)
    used: list[int] = []
    total = 0.0
    for wish in expected:
        taken = [called[i] for i in used]
        free = [i for i, call in enumerate(called) if (call not in taken if by_value else i not in used)]
        best = max(free, key=lambda i: call_score(wish, called[i], arguments), default=None)
        if best is not None and (score := call_score(wish, called[best], arguments)) > 0:
            total += score
            used.append(best)
    return total / len(expected)


def tools_in_order(expected: Sequence[Call], called: Sequence[Call], arguments: bool = False) -> float:
    """The heaviest common subsequence, by dynamic programming, over the number of expectations.

    best(i, j) = max(best(i-1, j), best(i, j-1), best(i-1, j-1) + score(i, j))
    """
    if not expected:
        return float(not called)
    best = [[0.0] * (len(called) + 1) for _ in range(len(expected) + 1)]  # (E + 1, C + 1)
    for i, wish in enumerate(expected, 1):
        for j, call in enumerate(called, 1):
            both = best[i - 1][j - 1] + call_score(wish, call, arguments)
            best[i][j] = max(best[i - 1][j], best[i][j - 1], both)
    return best[-1][-1] / len(expected)


def tools_exactly(expected: Sequence[Call], called: Sequence[Call], arguments: bool = False) -> float:
    """1 where the calls are the expected ones, in number and order."""
    same = len(expected) == len(called)
    for wish, call in zip(expected, called, strict=False):
        same = same and wish.name == call.name and (not arguments or wish.arguments == call.arguments)
    return float(same)
