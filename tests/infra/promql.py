"""Enough of PromQL to try rules on samples: what the rules in ``infra`` use, and nothing else (anything else raises).

Series are (labels, function of time); ``rate`` and ``increase`` take the difference over the range, as Prometheus does
for counters that are scraped often and never reset; ``avg_over_time`` is the mean of what scrapes each 15 s read.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import promql_parser as ql

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float
SCRAPED = 15.0  # seconds between two scrapes
Series = Sequence[tuple[str, Mapping[str, str], Callable[[float], float | None]]]

ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul}
COMPARISONS = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
MATCHES: dict[str, Callable[[str, str], bool]] = {
    "Equal": lambda value, wanted: value == wanted,
    "NotEqual": lambda value, wanted: value != wanted,
    "Re": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "NotRe": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


class Prometheus:
    """Answers queries over ``series``; ``record`` adds what a recording rule gives, at any time."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.rules: dict[str, str] = {}

    def record(self, name: str, expr: str) -> None:
        self.rules[name] = expr

    def query(self, expr: str, at: float) -> Value:
        return self._eval(ql.parse(expr), at)

    def _eval(self, node: Any, at: float) -> Value:
        kind = type(node).__name__
        return getattr(self, f"_{kind.lower()}")(node, at)  # type: ignore[no-any-return]

    def _numberliteral(self, node: Any, _at: float) -> float:
        return float(node.val)

    def _parenexpr(self, node: Any, at: float) -> Value:
        return self._eval(node.expr, at)

    def _vectorselector(self, node: Any, at: float) -> Vector:
        at -= node.offset.total_seconds() if node.offset else 0
        if node.name in self.rules:
            found = self.query(self.rules[node.name], at)
            assert isinstance(found, dict)
            return {labels: value for labels, value in found.items() if _matches(node, dict(labels))}
        result: Vector = {}
        for name, labels, values in self.series:
            value = values(at)
            if name == node.name and value is not None and _matches(node, labels):
                result[frozenset(labels.items())] = value
        return result

    def _call(self, node: Any, at: float) -> Vector:
        name = node.func.name
        if name in ("rate", "increase"):
            (matrix,) = node.args
            seconds = matrix.range.total_seconds()
            now = self._vectorselector(matrix.vector_selector, at)
            before = self._vectorselector(matrix.vector_selector, at - seconds)
            grown = {labels: value - before.get(labels, 0.0) for labels, value in now.items()}
            return {labels: value / (seconds if name == "rate" else 1) for labels, value in grown.items()}
        if name == "avg_over_time":
            (matrix,) = node.args
            return self._mean(matrix.vector_selector, at, matrix.range.total_seconds())
        assert name == "histogram_quantile", name
        return _quantile(node.args[0].val, self._eval(node.args[1], at))

    def _mean(self, selector: Any, at: float, seconds: float) -> Vector:
        read: dict[Labels, list[float]] = {}
        for n in range(math.ceil(seconds / SCRAPED)):
            for labels, value in self._vectorselector(selector, at - n * SCRAPED).items():
                read.setdefault(labels, []).append(value)
        return {labels: sum(values) / len(values) for labels, values in read.items()}

    def _aggregateexpr(self, node: Any, at: float) -> Vector:
        fold = {"sum": sum, "max": max}[str(node.op)]
        by = set(node.modifier.labels) if node.modifier else set()
        groups: dict[Labels, list[float]] = {}
        found = self._eval(node.expr, at)
        assert isinstance(found, dict)
        for labels, value in found.items():
            groups.setdefault(frozenset(pair for pair in labels if pair[0] in by), []).append(value)
        return {labels: fold(values) for labels, values in groups.items()}

    def _binaryexpr(self, node: Any, at: float) -> Value:
        left, right, op = self._eval(node.lhs, at), self._eval(node.rhs, at), str(node.op)
        assert node.modifier is None or node.modifier.matching is None
        if op == "and":
            assert isinstance(left, dict)
            assert isinstance(right, dict)
            return {labels: value for labels, value in left.items() if labels in right}
        if op == "or":
            assert isinstance(left, dict)
            assert isinstance(right, dict)
            return right | left
        if isinstance(left, float) and isinstance(right, float):
            return float(_compute(op, left, right))
        pairs = _paired(left, right)
        if op in COMPARISONS:
            return {labels: one for labels, (one, other) in pairs.items() if COMPARISONS[op](one, other)}
        return {labels: _compute(op, one, other) for labels, (one, other) in pairs.items()}


def _compute(op: str, one: float, other: float) -> float:
    if op == "/":
        return one / other if other else math.nan
    return float(ARITHMETIC[op](one, other))


def _paired(left: Value, right: Value) -> dict[Labels, tuple[float, float]]:
    """One to one, by equal labels; a number goes with every series."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: (value, right[labels]) for labels, value in left.items() if labels in right}
    if isinstance(left, dict):
        assert not isinstance(right, dict)
        return {labels: (value, right) for labels, value in left.items()}
    assert isinstance(right, dict)
    return {labels: (left, value) for labels, value in right.items()}


def _matches(node: Any, labels: Mapping[str, str]) -> bool:
    return all(
        MATCHES[str(matcher.op).rpartition(".")[2]](labels.get(matcher.name, ""), matcher.value)
        for matcher in node.matchers.matchers
    )


def _quantile(q: float, buckets: Value) -> Vector:
    """By linear interpolation inside the bucket that holds the quantile, as Prometheus does."""
    assert isinstance(buckets, dict)
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, count in buckets.items():
        rest = frozenset(pair for pair in labels if pair[0] != "le")
        groups.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), count))
    return {labels: _interpolated(q, sorted(found)) for labels, found in groups.items()}


def _interpolated(q: float, buckets: list[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if not total:
        return math.nan
    low = below = 0.0
    for high, count in buckets:
        if count >= q * total:
            if math.isinf(high):
                return low
            return low + (high - low) * (q * total - below) / (count - below)
        low, below = high, count
    return math.nan
