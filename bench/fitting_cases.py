"""Questions with tools of which one does what is asked, and with tools of which none does.

The second kind comes from BFCL's irrelevance, from questions whose right tool is taken away and its siblings left, from
tools of other questions, and from our own questions with the tools of another office. So that no source is known by how
many tools it brings, each question is also asked with one tool alone, or amid a dozen of others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from assistant.answering.routing import tool_of
from assistant.evaluation import tool_cases
from assistant.tools.model import Tool
from bench.places import DATA, ROOT
from bench.routing import OFFICES, own_tools
from bench.world import jsonl

SEED = 3
MOST_BESIDE = 11


@dataclass(frozen=True, slots=True)
class Case:
    """``wanted``: the tools that are right, none where nothing fits. ``source``: whose question it is. ``group``: the
    source, or how the tools were taken from it. ``form``: as it is, alone, amid others. ``names``: the functions that
    the question came with."""

    source: str
    group: str
    question: str
    tools: tuple[Tool, ...]
    wanted: frozenset[str]
    names: frozenset[str]
    form: str = "as it is"
    language: str = "en"
    split: str = "test"


def cases() -> list[Case]:
    """All of them, the same each time."""
    chance = random.Random(SEED)
    whole = [*_benchmarks(), *_own()]
    found = [*whole, *_taken_away(whole), *_strangers(whole, chance)]
    beside = [tool for tools in own_tools().values() for tool in tools]  # of no benchmark: none may see another's
    return [*found, *(changed for case in found for changed in _changed(case, beside, chance))]


def _benchmarks() -> Iterator[Case]:
    for folder in ("bfcl", "agentdojo"):
        for task in tool_cases.read_folder(DATA / folder):
            tools = tuple(tool_of(function["function"]) for function in task.as_openai())
            names = frozenset(tool.name for tool in tools)
            wanted = frozenset(name for name, _ in task.truth)
            if tools and (wanted or task.category == tool_cases.IRRELEVANCE):
                yield Case(task.category, task.category, task.question, tools, wanted, names)


def _own() -> Iterator[Case]:
    sets = own_tools()
    for row in jsonl(ROOT / "tests" / "data" / "routing_questions.jsonl"):
        if row["kind"] != "tools":
            continue
        for office in OFFICES:
            tools = sets[office]
            fits = office == row["tools"]
            yield Case(
                "own", "own" if fits else "crossed", row["question"], tools,
                frozenset([row["tool"]] if fits else []), frozenset(tool.name for tool in tools),
                language=row["language"], split=row["split"],
            )  # fmt: skip


def _taken_away(whole: Sequence[Case]) -> Iterator[Case]:
    for case in whole:
        rest = tuple(tool for tool in case.tools if tool.name not in case.wanted)
        if case.source in ("multiple", "parallel_multiple") and rest:
            yield replace(case, group="siblings", tools=rest, wanted=frozenset())


def _strangers(whole: Sequence[Case], chance: random.Random) -> Iterator[Case]:
    """Each question with the tools of one of BFCL's single or double questions."""
    others = [case for case in whole if case.source in tool_cases.WHOLE]
    for case in whole:
        other = chance.choice(others)
        if case.wanted and not case.wanted & other.names:
            yield replace(
                case, group="strangers", tools=other.tools, wanted=frozenset(), names=case.names | other.names
            )


def _changed(case: Case, beside: Sequence[Tool], chance: random.Random) -> Iterator[Case]:
    """The same with one tool where it has several, with several where it has one."""
    if len(case.tools) == 1:
        others = [
            tool for tool in chance.sample(beside, chance.randint(2, MOST_BESIDE)) if tool.name not in case.wanted
        ]
        yield replace(case, tools=(*case.tools, *others), form="amid others")
        return
    right = [tool for tool in case.tools if tool.name in case.wanted]
    wrong = [tool for tool in case.tools if tool.name not in case.wanted]
    if right:
        yield replace(case, tools=(chance.choice(right),), form="alone")
    if wrong:
        group = "siblings" if case.wanted else case.group
        yield replace(case, group=group, tools=(chance.choice(wrong),), wanted=frozenset(), form="alone")
