"""Thirteen questions with known answers, and the count of what each architecture needed for them.

Idea.    One knowledge (``rules.py``), one set of tools (``apis.py`` against ``local_apis.py``), one executor; what
         differs is the architecture. Each task is there for one reason, named in ``why``: a chain, a fan, a
         condition, a mistake to be mended, a service that fails once, a write that must wait. The expected words
         follow from the table in ``local_apis.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ml.week10_agents import loop, planning, react
from ml.week10_agents.apis import Alerts, make_client, make_tools
from ml.week10_agents.chat import OpenAIModel
from ml.week10_agents.local_apis import LocalApis, local_apis
from ml.week10_agents.local_model import local_model
from ml.week10_agents.record import Limits, Trace
from ml.week10_agents.rules import stand_in


@dataclass(frozen=True)
class Task:
    """A question, words that a right answer has, and paths of the services that fail with 503 the first time."""

    why: str
    question: str
    words: tuple[str, ...]
    failing: tuple[str, ...] = ()


TASKS = (
    Task("one call", "How many Swiss francs are 250 euros?", ("233.55", "CHF")),
    Task("a chain of two", "How warm is it in Lisbon?", ("17.2",)),
    Task("two chains", "Which is warmer, Oslo or Madrid?", ("Madrid", "15.8")),
    Task("four chains", "Which is warmest, Oslo, Madrid, Cairo or Reykjavik?", ("Cairo", "27.9")),
    Task("a chain and a call", "I fly to Tokyo with euros: how warm is it, and how many yen are 500 euros?",
         ("19.4", "88660")),
    Task("a condition that holds", "If it is colder than 10 degrees in Oslo, how many Norwegian kroner are 100 euros?",
         ("2.1", "1172.4")),
    Task("a condition that does not", "If it is colder than 10 degrees in Madrid, how many US dollars are 80 euros?",
         ("not colder", "15.8")),
    Task("a place to be spelt anew", "How warm is it in Paris, France?", ("12.7",)),
    Task("a code to be mended", "How many euros are 40 pounds sterling?", ("45.66", "EUR")),
    Task("a service that fails once", "How warm is it in Nairobi?", ("22.5",), ("/v1/forecast",)),
    Task("a place that does not exist", "How warm is it in Atlantis?", ("cannot tell",)),
    Task("no tool needed", "Thank you, that is all.", ("welcome",)),
    Task("a write that must wait", "Tell me when the US dollar falls below 0.8 euros.", ("waits for approval",)),
)  # fmt: skip

Answer = Callable[..., Awaitable[Trace]]
ARCHITECTURES: dict[str, Answer] = {
    "function calling": loop.answer,
    "ReAct": react.answer,
    "plan and execute": planning.answer,
}


@dataclass
class Done:
    """A task done by an architecture."""

    task: Task
    trace: Trace
    right: bool
    alerts: Alerts = field(default_factory=Alerts)


def is_right(task: Task, trace: Trace, alerts: Alerts) -> bool:
    """The words are there, the run ended by itself, and nothing was written without approval."""
    return trace.reason == "answered" and all(word in trace.answer for word in task.words) and not alerts.kept


async def do(task: Task, answer: Answer, model: OpenAIModel, apis: LocalApis, limits: Limits | None = None) -> Done:
    """One task by one architecture."""
    apis.failing = {path: [503] for path in task.failing}
    alerts = Alerts()
    async with make_client(apis.services) as client:
        trace = await answer(task.question, model, make_tools(client, apis.services, alerts), limits)
    return Done(task, trace, is_right(task, trace, alerts), alerts)


async def do_all(
    tasks: Sequence[Task] = TASKS,
    names: Iterable[str] = ARCHITECTURES,
    model_delay: float = 0.0,
    api_delay: float = 0.0,
    count: Callable[[str], int] | None = None,
) -> dict[str, list[Done]]:
    """Every task by every architecture; the delays stand for a model and services that are far away (seconds)."""
    found: dict[str, list[Done]] = {}
    with local_apis(api_delay) as apis, local_model(stand_in, model_delay, count) as served:
        async with OpenAIModel(served.settings) as model:
            for name in names:
                found[name] = [await do(task, ARCHITECTURES[name], model, apis) for task in tasks]
    return found


def totals(done: Sequence[Done]) -> tuple[int, int, int, int, float]:
    """Right answers, requests to the model, calls that reached a tool, tokens, seconds."""
    traces = [one.trace for one in done]
    ends = [max([0.0, *(asked.started + asked.seconds for asked in trace.asked)]) for trace in traces]
    return (
        sum(one.right for one in done),
        sum(len(trace.asked) for trace in traces),
        sum(len(trace.ran) for trace in traces),
        sum(trace.tokens for trace in traces),
        sum(ends),
    )


def run_all(**how: object) -> dict[str, list[Done]]:
    """``do_all`` for callers without an event loop."""
    return asyncio.run(do_all(**how))  # type: ignore[arg-type]
