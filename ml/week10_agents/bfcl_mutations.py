"""Right answers made wrong in one place: a checker that passes the ground truth has shown nothing until it fails these.

Idea.    Mutation testing, turned on an evaluation: every change below makes a right answer wrong by the benchmark's
         own rules, so a checker that still says "right" has a hole of known shape.
Source.  DeMillo, Lipton and Sayward, "Hints on Test Data Selection" (1978).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ml.week10_agents.bfcl import Call, Case

Mutant = tuple[str, list[Call]]  # what was done, the calls


def mutants(case: Case, calls: list[Call]) -> Iterator[Mutant]:
    """Wrong answers next to the right one ``calls``: of the list of calls, of each call, of each argument."""
    first = case.functions[0]["name"]
    if not calls:
        yield "a call where none is right", [(first, {})]
        return
    yield "no call", []
    yield "a call twice", [*calls, calls[-1]]
    if len(calls) > 1:
        yield "a call too few", calls[:-1]
    for place, (name, arguments) in enumerate(calls):
        before, after = calls[:place], calls[place + 1 :]
        for kind, call in _call_mutants(case, place, name, arguments):
            yield kind, [*before, call, *after]


def _call_mutants(case: Case, place: int, name: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Call]]:
    options = case.truth[place][1]
    yield "another function", (f"{name}_2", arguments)
    yield "an unknown argument", (name, {**arguments, "surplus_": 1})
    for key, value in arguments.items():
        rest = {other: given for other, given in arguments.items() if other != key}
        if "" not in options[key]:
            yield "an argument left out", (name, rest)
        wrong = another(value)
        if wrong is not None and not any(_near(wrong, option) for option in options[key]):
            yield f"another {type(value).__name__}", (name, {**rest, key: wrong})
        if not isinstance(value, str):
            yield "text for a value", (name, {**rest, key: f"<{value}>"})


def another(value: Any) -> Any:
    """A value of the same type that is not ``value``; None where there is none to be had."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 7
    if isinstance(value, str):
        return f"{value} zq"
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 else None
    if isinstance(value, dict) and value:
        return {**value, "surplus_": 1}
    return None


def _near(value: Any, option: Any) -> bool:
    """Whether the change hit another right answer by chance."""
    return value == option and isinstance(value, bool) == isinstance(option, bool)
