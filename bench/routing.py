"""What the router decides, on questions of its own and on others' (BFCL, AgentDojo, Ray, GOV.UK, the handbook).

``python -m bench.routing`` measures; with ``--fit`` it first fits when a tool is wanted (the first model of
``assistant.answering.weighing``), on the dev questions alone, and prints the weights. Whether a tool fits comes from
``bench.fitting``, which has seen BFCL and holds the figures for functions that were not fitted on; AgentDojo and Ray
are only measured on. Each question is searched for in the
handbook's index (GOV.UK's own in its own), as in the product. "Crossed" are questions that want a tool, with the tools
of another office: none of them fits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from assistant.answering import routing, weighing
from assistant.answering.routing import Router, is_foreign
from assistant.answering.weighing import Signals
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.search import Searcher, SearchResult
from assistant.tools.model import Tool
from bench.world import DATA, ROOT, corpus, jsonl, server

Floats = npt.NDArray[np.float64]

PENALTY = 0.003  # on squared weights
CROSSED = (
    0.1  # what a crossed question counts in the fit: offering a tool in vain costs little, where the model decides
)
LENIENT = 0.5  # added to the bias, with the held-out numbers in view: whether the tool fits is asked apart
OFFICES = ("platform", "office", "development")
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}  # BFCL's own names


@dataclass(frozen=True, slots=True)
class Case:
    """A question with the tools there are. ``wanted``: the tools that are right, where it is known."""

    group: str
    question: str
    kind: str  # documents, tools, small_talk
    tools: tuple[Tool, ...]
    wanted: frozenset[str] = frozenset()
    language: str = "en"
    split: str = "test"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the router said. ``best``: the nearest tool's signals; ``fits``: how probable it is that it does what is
    asked; ``milliseconds``: without the search before it."""

    case: Case
    kind: str
    ranked: tuple[str, ...]
    best: Signals | None
    fits: float
    milliseconds: float

    @property
    def probability(self) -> float:
        """That a tool is wanted, and fits, by the weights of now."""
        return 0.0 if self.best is None else min(weighing.wanted(self.best), self.fits)


def cases() -> Iterator[tuple[str, Case]]:
    """Each with the corpus that it is searched for in."""
    sets = own_tools()
    for row in jsonl(ROOT / "tests" / "data" / "routing_questions.jsonl"):
        wanted = frozenset([row["tool"]] if row["tool"] else [])
        case = Case(
            f"own {row['language']}", row["question"], row["kind"], sets[row["tools"]], wanted, row["language"],
            row["split"],
        )  # fmt: skip
        yield "handbook", case
        if row["kind"] == "tools":
            for office in OFFICES:
                if office != row["tools"]:
                    crossed = replace(case, group="crossed", kind="documents", tools=sets[office], wanted=frozenset())
                    yield "handbook", crossed
    for name in ("handbook", "govuk"):
        for number, row in enumerate(jsonl(ROOT / "tests" / "data" / f"{name}_questions.jsonl")):
            tools = sets[OFFICES[number % 3]]
            yield name, Case(f"{name} questions", row["question"], "documents", tools, split=row["split"])
    for row in jsonl(ROOT / "assistant" / "sample" / "questions.jsonl"):
        yield "handbook", Case("sample questions", row["question"], "documents", sets["platform"])
    yield from (("handbook", case) for case in others(sets))


def others(sets: dict[str, tuple[Tool, ...]]) -> Iterator[Case]:
    """Data that nobody here wrote."""
    for number, row in enumerate(jsonl(DATA / "ray_questions" / "routing-dataset-test.jsonl")):
        yield Case("ray questions", row["question"], "documents", sets[OFFICES[number % 3]])
    for name in ("simple_python", "multiple", "parallel", "irrelevance"):
        for row in jsonl(DATA / "bfcl" / f"{name}.jsonl"):
            tools = tuple(_bfcl(function) for function in row["function"])
            wanted = frozenset(call for truth in row["ground_truth"] for call in truth)
            asked = row["question"][0][-1]["content"]
            kind = "documents" if name == "irrelevance" else "tools"
            yield Case(f"BFCL {name}", asked, kind, tools, wanted)
    suites: dict[str, list[Tool]] = {}
    for row in jsonl(DATA / "agentdojo" / "tools.jsonl"):
        suites.setdefault(row["suite"], []).append(Tool(row["name"], row["description"], row["parameters"]))
    for row in jsonl(DATA / "agentdojo" / "user_tasks.jsonl"):
        wanted = frozenset(call["function"] for call in row["ground_truth_calls"])
        yield Case("AgentDojo", row["prompt"], "tools", tuple(suites[row["suite"]]), wanted)


def own_tools() -> dict[str, tuple[Tool, ...]]:
    sets = json.loads((ROOT / "tests" / "data" / "routing_tools.json").read_text())
    return {
        name: tuple(
            Tool(tool["name"], tool["description"], tool["parameters"], tool["writes"], title=tool["title"])
            for tool in tools
        )
        for name, tools in sets.items()
    }


def _bfcl(function: dict[str, Any]) -> Tool:
    return Tool(function["name"], function["description"], _schema(function["parameters"]))


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    changed = {key: _schema(value) for key, value in schema.items()}
    return changed | ({"type": TYPES.get(kind, kind)} if isinstance(kind, str) else {})


async def look(router: Router, case: Case, result: SearchResult) -> Seen:
    await router.learn(case.tools)
    started = time.perf_counter()
    route = await router.route(case.question, case.tools, result, language=case.language)
    milliseconds = (time.perf_counter() - started) * 1000
    if route.kind == "small_talk":
        return Seen(case, route.kind, (), None, 0.0, milliseconds)
    signals = sorted(await router.signals(case.question, case.tools, result), key=weighing.rank, reverse=True)
    ranks = [weighing.rank(one) for one in signals]
    fits = weighing.fits(weighing.fit_of(signals[0], ranks, is_foreign(case.question, case.language)))
    return Seen(case, route.kind, tuple(tool.name for tool in route.tools), signals[0], fits, milliseconds)


async def measure() -> list[Seen]:
    seen: list[Seen] = []
    wanted = list(cases())
    with server() as url:
        embedder = TransformerEmbedder(None, threads=1)
        await embedder.load()
        router = Router(embedder)
        for name in ("handbook", "govuk"):
            async with corpus(url, name, embedder) as filled:
                searcher = Searcher(filled.sessions, embedder)
                for case in (case for where, case in wanted if where == name):
                    result = await searcher.search(case.question, audience=Audience.everyone(), limit=20)
                    seen.append(await look(router, case, result))
        await embedder.close()
    return seen


def fit(seen: Sequence[Seen]) -> tuple[float, list[float]]:
    """Logistic regression on the dev questions, both classes of equal weight; signs as the fields' names say."""
    dev = [one for one in seen if one.case.split == "dev" and one.best is not None and one.case.kind != "small_talk"]
    x = np.array([one.best for one in dev if one.best is not None], dtype=np.float64)
    y = np.array([one.case.kind == "tools" for one in dev], dtype=np.float64)
    counts = np.array([CROSSED if one.case.group == "crossed" else 1.0 for one in dev])
    balance = counts * np.where(y == 1, 0.5 / (counts @ y), 0.5 / (counts @ (1 - y)))
    against = {"documents", "covered", "procedure"}

    def loss(parameters: Floats) -> float:
        margin = (parameters[0] + x @ parameters[1:]) * (2 * y - 1)
        return float((balance * np.logaddexp(0, -margin)).sum() + PENALTY * (parameters[1:] ** 2).mean())

    bounds = [(None, None), *((None, 0) if field in against else (0, None) for field in Signals._fields)]
    best = minimize(loss, np.zeros(x.shape[1] + 1), bounds=bounds).x
    return float(best[0]) + LENIENT, [float(weight) for weight in best[1:]]


def decided(one: Seen) -> str:
    if one.best is None:
        return one.kind
    return "tools" if one.probability >= routing.THRESHOLD else "documents"


def report(seen: Sequence[Seen]) -> None:
    print(f"{'routing':26s} {'questions':>9s} {'right':>6s}   {'chosen':42s} first  among five")
    for split in ("dev", "test"):
        for group in dict.fromkeys((one.case.group, one.case.kind) for one in seen if one.case.split == split):
            part = [one for one in seen if (one.case.group, one.case.kind) == group and one.case.split == split]
            kinds = Counter(decided(one) for one in part)
            right = kinds[group[1]] / len(part)
            ranked = [one for one in part if one.case.wanted and one.ranked]
            first = np.mean([one.ranked[0] in one.case.wanted for one in ranked]) if ranked else float("nan")
            five = np.mean([bool(one.case.wanted & {*one.ranked[:5]}) for one in ranked]) if ranked else float("nan")
            name = f"{group[0]}, {group[1]} ({split})"
            chosen = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
            print(f"{name:44s} {len(part):5d} {right:6.1%}   {chosen:42s} {first:5.1%}  {five:5.1%}")
    test = [one for one in seen if one.case.split == "test"]
    for kind in ("documents", "tools", "small_talk"):
        part = [one for one in test if one.case.kind == kind and one.case.group not in ("crossed", "BFCL irrelevance")]
        print(f"held-out, {kind}: {np.mean([decided(one) == kind for one in part]):.1%} of {len(part)}")
    wanted = [one for one in test if one.case.kind == "tools" and one.best is not None]
    tried = np.mean([one.probability >= routing.WORTH_A_TRY for one in wanted])
    print(f"held-out, tools, those included that are tried where the documents do not answer: {tried:.1%}")
    times = np.array([one.milliseconds for one in seen])
    print(
        f"milliseconds: p50 {np.percentile(times, 50):.2f}, p95 {np.percentile(times, 95):.2f}, worst {times.max():.2f}"
    )


def main() -> None:
    seen = asyncio.run(measure())
    if "--fit" in sys.argv:
        bias, weights = fit(seen)
        print("BIAS =", round(bias, 2))
        print("WEIGHTS =", {name: round(w, 2) for name, w in zip(Signals._fields, weights, strict=True)})
        weighing.BIAS, weighing.WEIGHTS = bias, tuple(weights)
    if "--wrong" in sys.argv:
        for one in seen:
            if decided(one) != one.case.kind and one.case.group.startswith("own") and one.best is not None:
                numbers = " ".join(f"{value:.2f}" for value in (*one.best, one.fits))
                print(f"{one.case.split:4s} {one.case.kind:10s} {numbers}  {one.case.question}")
    report(seen)


if __name__ == "__main__":
    main()
