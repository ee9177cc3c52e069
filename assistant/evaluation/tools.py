"""Which functions a model calls, and with what: BFCL's AST match, the choice of tools, the arguments.

With no model that calls functions, the router alone is measured: which function it chooses for a question, or none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assistant.errors import AlmanacError
from assistant.evaluation.ast_match import Made, arguments_right, call_mistake, mistake
from assistant.evaluation.lines import evenly
from assistant.evaluation.results import CaseResult, Counts, Metric, ratio, yes_no
from assistant.evaluation.telling import Tell, each, silently
from assistant.evaluation.tool_cases import CATEGORIES, IRRELEVANCE, WHOLE, ToolTask

TITLES = {
    "simple_python": "AST match: simple, Python", "simple_java": "AST match: simple, Java",
    "simple_javascript": "AST match: simple, JavaScript", "multiple": "AST match: multiple",
    "parallel": "AST match: parallel", "parallel_multiple": "AST match: parallel, multiple",
}  # fmt: skip
METRICS = (
    Metric("ast_match", "AST match"),
    *(Metric(f"ast_{category}", title) for category, title in TITLES.items()),
    Metric("irrelevance", "No call where none fits"),
    Metric("tool_choice", "The right tools, or none"),
    Metric("argument_accuracy", "Arguments right"),
    Metric("first_call", "First step: a call of the right tool"),
    Metric("first_arguments", "First step: arguments right"),
    Metric("unreadable", "Calls that could not be read", better="lower"),
    Metric("failed", "Tasks that failed", better="lower"),
    Metric("seconds", "Seconds of a task", better="lower", gate=False, unit="seconds"),
)
ROUTED = (
    Metric("route_choice", "The right tool, or none"),
    Metric("route_found", "A tool, where one is right"),
    Metric("route_tool", "The right one, where a tool is chosen"),
    Metric("route_none", "No tool where none fits"),
    Metric("seconds", "Seconds of a task", better="lower", gate=False, unit="seconds"),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The calls that a model wants made; ``unreadable``: those whose arguments are no JSON object."""

    calls: Sequence[Made]
    unreadable: int = 0


class Caller(Protocol):
    """Asks the model once; raises ``AlmanacError``. ``functions`` in OpenAI's form."""

    async def __call__(
        self, messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]
    ) -> Chosen: ...


class Router(Protocol):
    """The name of the function that a question is for, or None."""

    async def __call__(self, question: str, functions: Sequence[Mapping[str, Any]]) -> str | None: ...


async def call_all(
    caller: Caller, tasks: Sequence[ToolTask], *, at_once: int = 4, tell: Tell = silently
) -> list[CaseResult]:
    """Every task through the model."""
    return await each(tasks, lambda task: _call(caller, task), at_once, "Calling", tell)


async def _call(caller: Caller, task: ToolTask) -> CaseResult:
    start = time.perf_counter()
    try:
        chosen = await caller(task.messages, task.as_openai())
    except AlmanacError as error:
        counts: Counts = {"failed": yes_no(True), **_lost(task)}
        return CaseResult(f"{task.category}/{task.id}", task.question[:200], counts, {"said": str(error)})
    seconds = time.perf_counter() - start
    wrong, counts = score(task, chosen)
    detail = {"said": shown(chosen.calls), "wanted": shown(task.truth), "mistake": wrong}
    counts = {**counts, "failed": yes_no(False), "seconds": (seconds, 1.0)}
    return CaseResult(f"{task.category}/{task.id}", task.question[:200], counts, detail)


def score(task: ToolTask, chosen: Chosen) -> tuple[str, Counts]:
    """What is wrong, and what the task gives to each metric."""
    calls = list(chosen.calls)
    made = len(calls) + chosen.unreadable
    unreadable = {"unreadable": (float(chosen.unreadable), float(made))} if made else {}
    if task.category == IRRELEVANCE:
        right = yes_no(made == 0)
        return "" if made == 0 else "a call where none fits", {"irrelevance": right, "tool_choice": right, **unreadable}
    described = {function["name"]: function["parameters"] for function in task.functions}
    if task.first_step_only:
        return _first_step(task, calls, described, unreadable)
    wrong = "a call could not be read" if chosen.unreadable else ""
    wrong = wrong or mistake(task.functions, calls, task.truth, task.language)
    good, total = arguments_right(described, calls, task.truth, task.language)
    chosen_names, wanted = sorted(name for name, _ in calls), sorted(name for name, _ in task.truth)
    counts = {
        "ast_match": yes_no(not wrong),
        f"ast_{task.category}": yes_no(not wrong),
        "tool_choice": yes_no(chosen_names == wanted and not chosen.unreadable),
        "argument_accuracy": (float(good), float(total)),
        **unreadable,
    }
    return wrong, counts


def _first_step(
    task: ToolTask, calls: Sequence[Made], described: Mapping[str, Any], unreadable: Counts
) -> tuple[str, Counts]:
    """Any of the expected calls may come first, and several may; a call of anything else is wrong.

    The arguments that count are those of calls that were made: what the later ones hold depends on the first.
    """
    wanted = {name for name, _ in task.truth}
    strange = [name for name, _ in calls if name not in wanted]
    right = bool(calls) and not strange
    counts = {"first_call": yes_no(right), **unreadable}
    known = [call for call in calls if call[0] in wanted]
    if known:
        truth = _nearest(task, known, described)
        good, total = arguments_right(described, known, truth)
        counts["first_arguments"] = (float(good), float(total))
    wrong = "no call" if not calls else f"{strange[0]} is not among the right tools" if strange else ""
    return wrong, counts


def _nearest(task: ToolTask, calls: Sequence[Made], described: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """For each call the expected call of its function that it comes nearest to."""
    found = []
    for call in calls:
        own = [truth for truth in task.truth if truth[0] == call[0]]
        exact = [truth for truth in own if not call_mistake(described, call, *truth)]
        found.append(exact[0] if exact else max(own, key=lambda truth, call=call: _share(described, call, truth)))  # type: ignore[misc]
    return found


def _share(described: Mapping[str, Any], call: Made, truth: tuple[str, Any]) -> float:
    good, total = arguments_right(described, [call], [truth])
    return good / total if total else 1.0


def _lost(task: ToolTask) -> dict[str, tuple[float, float]]:
    """A task that failed is wrong in what it is measured by."""
    if task.category == IRRELEVANCE:
        return {"irrelevance": yes_no(False), "tool_choice": yes_no(False)}
    if task.first_step_only:
        return {"first_call": yes_no(False)}
    names = ("ast_match", f"ast_{task.category}", "tool_choice")
    return {name: yes_no(False) for name in names}


async def route_all(router: Router, tasks: Sequence[ToolTask], tell: Tell = silently) -> list[CaseResult]:
    """Which function the router chooses for each task; the arguments are not its business."""
    found = []
    for place, task in enumerate(tasks, start=1):
        start = time.perf_counter()
        name = await router(task.question, task.as_openai())
        counts = {**route_counts(task, name), "seconds": (time.perf_counter() - start, 1.0)}
        detail = {"said": name or "(none)", "wanted": ", ".join(sorted({name for name, _ in task.truth})) or "(none)"}
        found.append(CaseResult(f"{task.category}/{task.id}", task.question[:200], counts, detail))
        tell("Routing", place, len(tasks))
    return found


def route_counts(task: ToolTask, name: str | None) -> dict[str, tuple[float, float]]:
    """For several right functions, any of them is right."""
    wanted = {wanted for wanted, _ in task.truth}
    if not wanted:
        return {"route_choice": yes_no(name is None), "route_none": yes_no(name is None)}
    counts = {"route_choice": yes_no(name in wanted), "route_found": yes_no(name is not None)}
    if name is not None:
        counts["route_tool"] = yes_no(name in wanted)
    return counts


def shown(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Calls as a person reads them."""
    return [f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"[:600] for name, given in calls]


def published_summary(cases: Sequence[CaseResult]) -> dict[str, float]:
    """The leaderboard's unweighted means: of the three simple parts, and of simple, multiple, parallel and both."""
    parts = {category: ratio(cases, f"ast_{category}") for category in WHOLE}
    simple = [parts[name] for name in WHOLE[:3] if parts[name] is not None]
    groups = [sum(simple) / len(simple) if simple else None, *(parts[name] for name in WHOLE[3:])]  # type: ignore[arg-type]
    there = [value for value in groups if value is not None]
    return {"bfcl_ast_summary": round(sum(there) / len(there), 4)} if len(there) == len(groups) else {}


def spread(tasks: Sequence[ToolTask], each: int | None) -> list[ToolTask]:
    """``each`` tasks of every category, evenly over it."""
    found: list[ToolTask] = []
    for category in CATEGORIES:
        found += evenly([task for task in tasks if task.category == category], each)
    return found
