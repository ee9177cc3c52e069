"""Best of n: let the model answer several times, and keep the answer that the preference model likes most.

Idea. It is the simplest use of a preference model, and a hard one to beat: no training, no risk to the model's weights,
and it can be switched off. The price is n answers for one. How far does it move from the model it samples from? By
exactly as much as choosing one of n can: at most ``log n - (n - 1) / n`` nats, 2.08 - 0.88 = 1.2 for n = 8.

The pipeline: candidates -> features of (prompt, candidate) -> score -> order. Candidates come from anywhere: given, or
sampled from SmolLM2 through week 4's decoder.

Sources: Stiennon et al. (2020), Nakano et al. "WebGPT" (2021); the bound: Hilton & Gao, "Measuring Goodhart's law"
(2022). Left out: batching over prompts, removing near-duplicates among the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ml.week07_alignment.preference import PreferenceModel


@dataclass(frozen=True)
class Ranked:
    """A candidate with its place among those given and its score in log-odds, relative to the candidates' mean."""

    text: str
    place: int
    score: float


@dataclass(frozen=True)
class Reranker:
    """``features(prompt, candidate)`` gives the numbers that ``model`` was fitted on."""

    model: PreferenceModel
    features: Callable[[str, str], Sequence[float]]

    def rank(self, prompt: str, candidates: Sequence[str]) -> list[Ranked]:
        """The candidates, the best first; equal scores keep the order in which they were given."""
        if not candidates:
            raise ValueError("There are no candidates to rank.")
        scores = self.model.score([self.features(prompt, candidate) for candidate in candidates])  # (n,)
        scores = scores - scores.mean()  # (n,) only differences mean something
        order = np.argsort(-scores, kind="stable")  # (n,)
        return [Ranked(candidates[i], int(i), float(scores[i])) for i in order]

    def best(self, prompt: str, candidates: Sequence[str]) -> str:
        """Best of n."""
        return self.rank(prompt, candidates)[0].text


def best_of_n_bound(n: int) -> float:
    """An upper bound of KL(best of n || model) in nats: log n - (n - 1) / n; exact when no two answers tie."""
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1.")
    return math.log(n) - (n - 1) / n


def smollm2_candidates(question: str, count: int, tokens: int = 48, seed: int = 0) -> list[str]:
    """``count`` answers of SmolLM2-135M-Instruct, sampled at temperature 0.9; LessonError where it is not installed."""
    from ml.week04_transformers.pretrained import load_smollm2
    from ml.week04_transformers.sampling import generate

    model, tokenizer = load_smollm2()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(prompt)] * count)  # (n, S)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        grown = generate(model, ids, tokens, temperature=0.9, top_p=0.95, generator=generator, stop=end)  # (n, S + new)
    return [tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True).strip() for row in grown]
