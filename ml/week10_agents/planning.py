"""Plan and execute: think once, run the plan without the model, think again only when something breaks.

Idea.    The model writes all calls in advance. A call may use an earlier one's result by reference
         ("$place.latitude"), so the plan is a graph, and the program runs it in waves, whatever is ready at the same
         time. Then one more request turns the results into an answer. A failed call stops the plan, and the model is
         shown what was done and what failed, and plans what is left, at most ``limits.replans`` times.
Source.  Wang et al., "Plan-and-Solve Prompting" (2023); Xu et al., "ReWOO" (2023), for the references; Kim et al.,
         "An LLM Compiler" (2023), for the waves.
Left out. Conditions and loops in a plan: a planner without them must fetch what it may turn out not to need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml.week10_agents.chat import ChatModel
from ml.week10_agents.executor import Executor
from ml.week10_agents.loop import ask, within
from ml.week10_agents.react import describe
from ml.week10_agents.record import Called, Limits, Trace
from ml.week10_agents.schema import explain
from ml.week10_agents.tools import Tool

PLAN = """Plan the calls that answer the question. The tools:
{tools}

Write a JSON list and nothing else. Each step has an id, a tool and arguments; an argument may be "$id.field", a field
of an earlier step's result. The list is empty if no tool can help.
[{{"id": "a", "tool": "name", "arguments": {{"x": 1}}}}, {{"id": "b", "tool": "name", "arguments": {{"y": "$a.z"}}}}]"""
SOLVE = "Answer the question in one or two sentences from the results. If they do not tell, say so."
STEP_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_]+$"},
        "tool": {"type": "string"},
        "arguments": {"type": "object"},
    },
    "required": ["id", "tool", "arguments"],
    "additionalProperties": False,
}
PLAN_SCHEMA = {"type": "array", "items": STEP_SCHEMA, "maxItems": 12}
REFERENCE = re.compile(r"\$([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")

Step = dict[str, Any]


class BadPlan(ValueError):
    """The plan cannot be run; the sentence is for the model."""


def read_plan(text: str, tools: Iterable[str], done: Iterable[str] = ()) -> list[Step]:
    """The steps of a plan. ``done`` are ids of earlier plans that a reference may name. Raises BadPlan."""
    try:
        plan = json.loads(re.sub(r"\A\s*```(?:json)?|```\s*\Z", "", text))  # the fence that models add
    except ValueError as error:
        raise BadPlan(f"The plan is not JSON ({error}).") from error
    if objections := explain(plan, PLAN_SCHEMA):
        raise BadPlan(f"The plan does not have the right form: {objections}.")
    known, names = set(done), set(tools)
    for step in plan:
        if step["tool"] not in names:
            raise BadPlan(f"There is no tool {step['tool']!r}.")
        for wanted, _ in references(step["arguments"]):
            if wanted not in known:  # references point backwards only, so a plan has no cycle
                raise BadPlan(f"Step {step['id']} uses ${wanted}, which no earlier step makes.")
        if step["id"] in known:
            raise BadPlan(f"Two steps are called {step['id']}.")
        known.add(step["id"])
    return list(plan)


def references(arguments: Any) -> list[tuple[str, str]]:
    """The (id, field) pairs that ``arguments`` refer to: whole values only, and not inside lists or objects."""
    found = [REFERENCE.fullmatch(value) for value in arguments.values() if isinstance(value, str)]
    return [(match[1], match[2]) for match in found if match]


def resolve(arguments: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` with each "$id.field" replaced by that result's field, in its own type. Raises BadPlan."""

    def value(given: Any) -> Any:
        found = REFERENCE.fullmatch(given) if isinstance(given, str) else None
        if not found:
            return given
        result = results[found[1]]
        if not isinstance(result, dict) or found[2] not in result:
            raise BadPlan(f"The result of {found[1]} has no field {found[2]!r}: {json.dumps(result)[:200]}.")
        return result[found[2]]

    return {name: value(given) for name, given in arguments.items()}


async def answer(
    question: str, model: ChatModel, tools: Iterable[Tool], limits: Limits | None = None, approved: Iterable[str] = ()
) -> Trace:
    """Plan, execute, plan again where something failed, answer. It always returns."""
    limits, tools = limits or Limits(), list(tools)
    trace = Trace(question, "plan and execute")
    executor = Executor(tools, limits, trace, approved)
    await within(limits, trace, _run(question, model, tools, executor))
    return trace


async def _run(question: str, model: ChatModel, tools: Sequence[Tool], executor: Executor) -> None:
    trace = executor.trace
    system = {"role": "system", "content": PLAN.format(tools=describe(tools))}
    results: dict[str, Any] = {}
    history, step = "", 0
    for _ in range(executor.limits.replans + 1):
        step += 1
        reply = await ask(trace, step, model, [system, {"role": "user", "content": f"Question: {question}\n{history}"}])
        failure = await _attempt(reply.content, step, executor, results)
        history = _history(trace.called, results, failure)
        if not failure:
            break
    solve = [
        {"role": "system", "content": SOLVE},
        {"role": "user", "content": f"Question: {question}\n{history}"},
    ]
    trace.answer = (await ask(trace, step + 1, model, solve)).content


async def _attempt(text: str, step: int, executor: Executor, results: dict[str, Any]) -> str:
    """Run one plan, adding to ``results``; what went wrong, or "" where everything is done."""
    try:
        plan = read_plan(text, executor.tools, results)
        while plan:
            ready = [item for item in plan if all(name in results for name, _ in references(item["arguments"]))]
            called = await executor.run(step, [(item["tool"], resolve(item["arguments"], results)) for item in ready])
            failed = [f"{item['id']}: {done.text}" for item, done in zip(ready, called, strict=True) if not _good(done)]
            for item, done in zip(ready, called, strict=True):
                if done.result is not None:
                    results[item["id"]] = done.result
                elif done.outcome == "waiting":
                    results[item["id"]] = {"waiting for approval": done.text}
            if failed:
                return "; ".join(failed)
            plan = [item for item in plan if item not in ready]
    except BadPlan as error:
        return str(error)
    return ""


def _good(done: Called) -> bool:
    # A write that waits is no failure, planning again would not help; a repeated call has its result already.
    return done.result is not None or done.outcome == "waiting"


def _history(called: Sequence[Called], results: Mapping[str, Any], failure: str) -> str:
    """What was done, for the next request."""
    made = [f"{done.name} {json.dumps(done.arguments, ensure_ascii=False)} -> {_words(done)}" for done in called]
    lines = ["Calls made:", *made, f"Results by id: {json.dumps(results, ensure_ascii=False)}"]
    if failure:
        lines.append(f"Failed: {failure} Plan what is left; results above can be used by their id.")
    return "\n".join(lines)


def _words(done: Called) -> str:
    return done.text if done.outcome == "ok" else f"Error: {done.text}"
