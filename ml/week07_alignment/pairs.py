"""Preference pairs from files, split without leaks, and accuracies that admit their noise.

Idea. Several pairs often share a prompt. Put one of them in the training part and its sister in the test part, and the
test measures memory. So the *prompt* is drawn, with all its pairs. The interval resamples prompts too, for the same
reason: two pairs of one question are not two independent observations.

Data. ``hh_rlhf``: two replies of an assistant and the one a person preferred (Bai et al. 2022). ``feedbackqa``: two
passages for one question and the one that people rated higher (Li et al. 2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml.lesson import LessonError


@dataclass(frozen=True)
class Pair:
    """``better`` was preferred to ``worse`` as a reply to ``prompt``; ``group`` is the subset or the domain."""

    prompt: str
    better: str
    worse: str
    group: str
    better_title: str = ""
    worse_title: str = ""


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise LessonError(f"{path} is missing: this part needs the evaluation data (see ALMANAC_DATA).")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def load_replies(folder: Path) -> list[Pair]:
    """The pairs of ``hh_rlhf``."""
    return [Pair(r["prompt"], r["chosen"], r["rejected"], r["subset"]) for r in _rows(folder / "pairs.jsonl")]


def load_passages(folder: Path) -> tuple[list[Pair], list[str]]:
    """The pairs of ``feedbackqa``, and the texts of its whole corpus (for word statistics)."""
    corpus = {row["id"]: row for row in _rows(folder / "corpus.jsonl")}
    pairs = []
    for r in _rows(folder / "pairs.jsonl"):
        titles = corpus[r["chosen_id"]]["title"], corpus[r["rejected_id"]]["title"]
        pairs.append(Pair(r["question"], r["chosen"], r["rejected"], r["domain"], *titles))
    return pairs, [f"{row['title']}\n{row['text']}" for row in corpus.values()]


def held_out(prompts: Sequence[str], share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """True for the pairs of a random ``share`` of the prompts: (N,)."""
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must lie between 0 and 1.")
    distinct = sorted(set(prompts))
    chosen = set(rng.permutation(distinct)[: round(share * len(distinct))].tolist())
    return np.array([prompt in chosen for prompt in prompts])  # (N,)


def wins(better: npt.NDArray[np.float64], worse: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 where the better one has the higher score, 1/2 for a tie, else 0: (N,), (N,) -> (N,)."""
    return (better > worse) + 0.5 * (better == worse)  # (N,)


def interval(
    values: npt.NDArray[np.float64], prompts: Sequence[str], rng: np.random.Generator, draws: int = 1000
) -> tuple[float, float, float]:
    """Mean of ``values`` (N,) with its 95 % bootstrap interval over prompts: (mean, low, high)."""
    if not len(values) or len(values) != len(prompts):
        raise ValueError("interval needs at least one value, and a prompt for each.")
    _, index = np.unique(np.array(prompts), return_inverse=True)  # (N,)
    sums, counts = np.bincount(index, weights=values), np.bincount(index)  # (prompts,), (prompts,)
    pick = rng.integers(0, len(sums), (draws, len(sums)))  # (draws, prompts)
    means = sums[pick].sum(1) / counts[pick].sum(1)  # (draws,)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
