"""Groundedness: is this sentence of an answer supported by the passages that it was made from?

The idea: four weak signs, and a logistic regression (week 1) that weighs them into a probability. *Coverage*: which
share of the sentence's words, rare ones counting more, stands in the passages. *Similarity*: the cosine of the sentence
with the nearest sentence there, by MiniLM. *Numbers*: which share of its numbers stands nowhere there. *Polarity*:
whether it denies where that nearest sentence affirms, or the reverse.

Coverage and similarity measure whether the passages are *about* the sentence. A topic is not a proof: "the limit is
40 minutes" and "the limit is 45 minutes" are the same topic. The last two signs are there for that, and are crude.

Source: the RAG triad's groundedness (TruLens), RAGAS's faithfulness; there a language model judges. Left out: natural
language inference models (the proper tool, a hundred times slower), splitting a sentence into its claims.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ml.week11_guardrails.minilm import Embed

SIGNS = ("coverage", "similarity", "numbers missing", "polarity differs")
STOP = set(
    "a an and are as at be been but by can could did do does for from had has have he how i if in into is it its may "
    "me more must my of on one or our shall she should so such than that the their them then there these they this "
    "those to was we were what when where which who whom why will with would yes you your".split()
)
DENIALS = re.compile(r"\b(?:no|not|never|none|neither|nor|without|cannot|lacks?|fails?|unable)\b|n't\b", re.IGNORECASE)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def sentences(text: str) -> list[str]:
    """Sentences and lines of ``text``, those without a letter left out."""
    parts = re.split(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-Z0-9])|\n+", text)
    return [part.strip() for part in parts if re.search(r"[^\W\d_]", part)]


def words(text: str) -> list[str]:
    """Lower-case words of content; a few endings are dropped, so that ``changes`` finds ``change``."""
    found = (word for word in re.findall(r"[^\W_]+", text.lower()) if word not in STOP)
    return [re.sub(r"(?<=\w{4})(?:ing|ed|es|s|e)$", "", word) for word in found]


def numbers(text: str) -> set[str]:
    """Numbers, with 1,000 as 1000."""
    return {number.replace(",", "") for number in NUMBER.findall(text)}


def denies(text: str) -> bool:
    """An odd number of denials: "not without" affirms."""
    return len(DENIALS.findall(text)) % 2 == 1


def weigh_words(passages: Iterable[str]) -> dict[str, float]:
    """ln((N + 1) / (n + 1)) + 1 for each word, n of N passages holding it."""
    texts = [set(words(passage)) for passage in passages]
    counts = Counter(word for text in texts for word in text)
    return {word: float(np.log((len(texts) + 1) / (n + 1)) + 1) for word, n in counts.items()}


@dataclass
class Signs:
    """Turns (sentence, passages) into the four signs. ``idf`` weighs words; one it does not know is the rarest."""

    embed: Embed
    idf: dict[str, float]

    def of(self, sentence: str, passages: Sequence[str]) -> np.ndarray:
        """(4,) in the order of ``SIGNS``. Nothing supports a sentence where there is no passage: (0, 0, 1, 0)."""
        units = [unit for passage in passages for unit in sentences(passage)]
        if not units:
            return np.array([0.0, 0.0, 1.0, 0.0])
        asked = set(words(sentence))
        held = {word for passage in passages for word in words(passage)}
        rarest = max(self.idf.values(), default=1.0)
        weight = {word: self.idf.get(word, rarest) for word in asked}
        coverage = sum(weight[word] for word in asked & held) / max(sum(weight.values()), 1e-9)
        similar = self.embed(units) @ self.embed([sentence])[0]  # (U, D) @ (D,) -> (U,)
        nearest = units[int(similar.argmax())]
        said = numbers(sentence)
        missing = len(said - numbers(" ".join(passages))) / len(said) if said else 0.0
        return np.array([coverage, float(similar.max()), missing, float(denies(sentence) != denies(nearest))])

    def table(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> np.ndarray:
        """(N, 4) signs of N pairs. All texts are embedded at once first, which fills batches."""
        texts = [text for sentence, passages in pairs for text in (sentence, *map_units(passages))]
        if texts:
            self.embed(texts)
        return np.array([self.of(sentence, passages) for sentence, passages in pairs]).reshape(-1, len(SIGNS))


def map_units(passages: Sequence[str]) -> list[str]:
    return [unit for passage in passages for unit in sentences(passage)]


@dataclass(frozen=True)
class Support:
    """P(supported) = sigma(w · x + b), with x scaled by the ``mean`` and ``spread`` of the data it was fitted on."""

    weights: np.ndarray
    bias: float
    mean: np.ndarray
    spread: np.ndarray

    def probability(self, signs: np.ndarray) -> np.ndarray:
        """(N, F) signs -> (N,) probabilities."""
        z = (signs - self.mean) / self.spread @ self.weights + self.bias
        probability: np.ndarray = 1 / (1 + np.exp(-z))
        return probability


def fit(signs: np.ndarray, labels: np.ndarray, penalty: float = 1.0, steps: int = 50) -> Support:
    """Logistic regression by Newton's method on (N, F) ``signs`` and (N,) ``labels`` of 0 and 1.

    L = sum_i ln(1 + e^(-s_i z_i)) + penalty/2 |w|^2, no penalty on the bias.
    gradient = X^T (p - y) + penalty w;   H = X^T diag(p (1 - p)) X + penalty I.
    With five parameters Newton's steps cost nothing, and there is no rate to choose.
    """
    mean, spread = signs.mean(0), np.maximum(signs.std(0), 1e-9)  # (F,), (F,)
    x = np.hstack([(signs - mean) / spread, np.ones((len(signs), 1))])  # (N, F + 1)
    ridge = np.diag([penalty] * signs.shape[1] + [1e-9])  # (F + 1, F + 1)
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))  # (N,)
        gradient = x.T @ (p - labels) + ridge @ w
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + ridge
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-10:
            break
    return Support(w[:-1], float(w[-1]), mean, spread)


def calibration(labels: np.ndarray, probabilities: np.ndarray, bins: int = 5) -> tuple[np.ndarray, float]:
    """Rows (mean probability, share supported, count) of equally full bins, and the expected calibration error."""
    order = np.argsort(probabilities, kind="stable")
    rows = np.array(
        [[probabilities[b].mean(), labels[b].mean(), len(b)] for b in np.array_split(order, bins) if len(b)]
    )
    return rows, float(np.abs(rows[:, 0] - rows[:, 1]) @ rows[:, 2] / rows[:, 2].sum())
