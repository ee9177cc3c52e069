"""What the experiment measures, apart from how it is shown: each function takes data and returns numbers.

Every threshold is chosen on one part of the data and judged on another, and no text has a copy on the other side.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from ml.week11_guardrails import grounding, injection, roc
from ml.week11_guardrails.checksums import is_iban, is_luhn
from ml.week11_guardrails.data import Prompts
from ml.week11_guardrails.grounding import Signs, Support, sentences
from ml.week11_guardrails.grounding_data import Case
from ml.week11_guardrails.meter import Budget, OverBudget


# ---- injection ----
def take(texts: list[str], mask: np.ndarray) -> list[str]:
    return [text for text, kept in zip(texts, mask, strict=True) if kept]


def folds(group: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) a fold's number a text; a group (N,) is never parted."""
    unique, place = np.unique(group, return_inverse=True)
    return np.asarray(rng.permutation(len(unique)) % count)[place]


def scores_by_fold(prompts: Prompts, fold: np.ndarray, which: Iterable[int]) -> np.ndarray:
    """(N,) log-odds, each from a classifier that saw no text of its fold."""
    scores = np.empty(len(fold))
    for f in which:
        out = fold == f
        scores[out] = injection.fit(take(prompts.texts, ~out), prompts.labels[~out]).logits(take(prompts.texts, out))
    return scores


def one_of_each(group: np.ndarray) -> np.ndarray:
    """(N,) true for the first text of each group. Copies in a test flatter as they do in training: a family of 179
    variants that are found together counts 179 times."""
    mask = np.zeros(len(group), bool)
    mask[np.unique(group, return_index=True)[1]] = True
    return mask


def rates_by_source(prompts: Prompts, flagged: np.ndarray, judged: np.ndarray) -> list[tuple[str, str, int, float]]:
    """(source, what, count, share flagged) among the ``judged`` texts."""
    rows = []
    for label, what in ((0, "harmless"), (1, "attack")):
        for source in np.unique(prompts.sources):
            mask = judged & (prompts.sources == source) & (prompts.labels == label)
            if mask.sum():
                rows.append((str(source), what, int(mask.sum()), float(flagged[mask].mean())))
    return rows


def without_source(prompts: Prompts, source: str, threshold: float) -> tuple[float, float]:
    """Share flagged of a source's harmless texts, and of its attacks, by a classifier that never saw the source."""
    out = prompts.sources == source
    scores = injection.fit(take(prompts.texts, ~out), prompts.labels[~out]).logits(take(prompts.texts, out))
    flagged, labels = scores >= threshold, prompts.labels[out]
    return tuple(float(flagged[labels == v].mean()) if (labels == v).any() else np.nan for v in (0, 1))  # type: ignore


def inside_documents(
    prompts: Prompts, orders: list[str], documents: list[str], rng: np.random.Generator
) -> tuple[float, float]:
    """Areas under the curve for telling documents with an order put in from those without: scored as a whole, and by
    the worst sentence."""
    parts, labels = [], []
    for number, document in enumerate(documents):
        clean = sentences(document)
        place = int(rng.integers(0, len(clean) + 1))
        parts += [clean, [*clean[:place], orders[number % len(orders)], *clean[place:]]]
        labels += [0, 1]
    model = injection.fit(prompts.texts, prompts.labels)
    whole = model.logits([" ".join(part) for part in parts])
    ends = np.cumsum([len(part) for part in parts])[:-1]
    worst = np.array([s.max() for s in np.split(model.logits([s for part in parts for s in part]), ends)])
    return roc.area(np.array(labels), whole), roc.area(np.array(labels), worst)


# ---- checksums ----
def passing_at_random(count: int, rng: random.Random) -> tuple[float, float]:
    """Shares of random 16-digit numbers that pass Luhn, and of random German IBANs that pass modulo 97."""
    cards = sum(is_luhn(str(rng.randrange(10**15, 10**16))) for _ in range(count))
    ibans = sum(is_iban(f"DE{rng.randrange(10**20):020d}") for _ in range(count))
    return cards / count, ibans / count


# ---- groundedness ----
def halves(cases: list[Case]) -> np.ndarray:
    """(N,) 0 or 1, a group whole."""
    names = sorted({case.group for case in cases})
    return np.array([names.index(case.group) % 2 for case in cases])


def judge(signs: Signs, cases: list[Case], support: Support | None = None) -> tuple[np.ndarray, np.ndarray, Support]:
    """(N, 4) signs, (N,) probabilities, and the model: the given one, or one fitted on half 0 of the cases."""
    x = signs.table([(case.sentence, case.passages) for case in cases])
    y = np.array([case.kind == "supported" for case in cases], int)
    first = halves(cases) == 0
    support = support or grounding.fit(x[first], y[first])
    return x, support.probability(x), support


def areas(
    cases: list[Case], x: np.ndarray, probability: np.ndarray, judged: np.ndarray
) -> dict[str, tuple[int, list[float]]]:
    """By kind of unsupported sentence: how many, and the areas of coverage, of similarity and of all four signs."""
    kind = np.array([case.kind for case in cases])
    found = {}
    for name in dict.fromkeys(kind[kind != "supported"].tolist()):
        mask = judged & ((kind == name) | (kind == "supported"))
        labels = (kind[mask] == "supported").astype(int)
        found[name] = (
            int((labels == 0).sum()),
            [roc.area(labels, values[mask]) for values in (x[:, 0], x[:, 1], probability)],
        )
    return found


# ---- money ----
def burst(budget: Budget, requests: int, most: int, real: int) -> np.ndarray:
    """(requests,) what was spent in all, had the burst had that many requests, all in flight before one is billed."""
    spent = []
    for size in range(1, requests + 1):
        budget.spent = budget.reserved = 0
        admitted = 0
        for _ in range(size):
            try:
                budget.reserve(most)
                admitted += 1
            except OverBudget:
                pass
        for _ in range(admitted):
            budget.settle(most, real)
        spent.append(budget.spent)
    return np.array(spent)
