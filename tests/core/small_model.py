"""A second embedding model that is a real folder of sentence-transformers: MiniLM, projected to fewer dimensions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from assistant.knowledge.embedding import default_model_path


def save_small_model(folder: Path, dimensions: int = 128, seed: int = 5, query_prompt: str = "") -> Path:
    """The projection is orthonormal and depends on the seed alone, so cosines stay close to MiniLM's."""
    model = SentenceTransformer(str(default_model_path()), device="cpu", local_files_only=True)
    width = model.get_embedding_dimension()
    square = np.random.default_rng(seed).normal(size=(width, width))
    rows = np.linalg.qr(square)[0][:dimensions]
    weight = torch.tensor(rows, dtype=torch.float32)
    dense = Dense(width, dimensions, bias=False, activation_function=torch.nn.Identity(), init_weight=weight)
    modules = [model[0], model[1], dense, Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    if query_prompt:
        path = folder / "config_sentence_transformers.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"query": query_prompt}}))
    return folder
