"""A sentence-transformers model as one call: token ids in, vectors out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from assistant.knowledge import kept_encoder
from assistant.knowledge.kept_encoder import About
from assistant.knowledge.loading import LOADING, torchscript

log = structlog.get_logger()

STEP = 8  # tokens; a batch is so many wide or a multiple: every other shape would be compiled, and kept, anew
TOLERANCES = (1e-3, 0.05)  # of vectors, of length 1, and of tokens' vectors, of any, in bfloat16


@dataclass(frozen=True, slots=True)
class Encoder:
    """``call``: (ids, mask), both (texts, tokens) -> (vectors (texts, dimensions), token vectors (texts, tokens,
    width)), or the vectors alone where ``width`` is 0: the model gives no token vectors, or none that can be kept."""

    call: Callable[[Any, Any], tuple[Any, ...]]
    about: About


def loaded(path: Path, name: str, fingerprint: str) -> Encoder:
    """The model in a folder of sentence-transformers, as it was kept, or else traced and kept."""
    file = kept_encoder.named(name, fingerprint)
    if kept := kept_encoder.find(file):
        return Encoder(*kept)
    model = _read(path)
    call, width, is_traced = as_one_call(model)
    tokenizer = model.tokenizer
    special = set(tokenizer.all_special_ids) - {getattr(tokenizer, "unk_token_id", None)}
    about = About(
        width, int(model.get_embedding_dimension() or 0), int(getattr(tokenizer, "pad_token_id", 0) or 0),
        int(model.max_seq_length or 0), tuple(sorted(special)),
    )  # fmt: skip
    if is_traced:
        kept_encoder.keep(file, call, about)
    return Encoder(call, about)


def _read(path: Path) -> Any:
    """In bfloat16, on the CPU."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    with LOADING:
        model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    return model.to(torch.bfloat16).eval()


def padded_length(length: int) -> int:
    """The next multiple of ``STEP``."""
    return -(-length // STEP) * STEP


def padded(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids and attention mask, both of shape (texts, tokens of the longest)."""
    ids = np.full((len(rows), padded_length(max(map(len, rows)))), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return ids, mask


def as_one_call(model: Any) -> tuple[Callable[[Any, Any], tuple[Any, ...]], int, bool]:
    """The model as one TorchScript call, which runs without the interpreter's lock; the width of its token vectors;
    whether it is TorchScript.

    Operation by operation, the model would wait for the lock at each of its hundreds of calls while the event loop
    is busy. A model that cannot be traced, or that gives other results then, is called as it is.
    """
    import torch

    example, other = (tuple(map(torch.from_numpy, padded(rows))) for rows in ([[1, 2, 3], [4, 5]], [[7] * 9, [8]]))
    width = _width(model, example)
    wanted = ("sentence_embedding", "token_embeddings") if width else ("sentence_embedding",)

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.requires_grad_(False)

        def forward(self, ids: Any, mask: Any) -> Any:
            output = self.model({"input_ids": ids, "attention_mask": mask})
            return tuple(output[name] for name in wanted)

    plain = Plain().eval()
    with torchscript(), torch.inference_mode():
        try:  # of what tracing cannot follow, the comparison decides
            traced = torch.jit.freeze(torch.jit.trace(plain, example, check_trace=False))  # type: ignore[no-untyped-call]
            pairs = zip(traced(*other), plain(*other), TOLERANCES, strict=False)
            same = all(torch.allclose(one, two, atol=most) for one, two, most in pairs)
        except (RuntimeError, TypeError, ValueError) as error:
            log.info("embedding.not_traced", error=type(error).__name__)
            return plain, width, False
    return traced if same else plain, width, same


def _width(model: Any, example: tuple[Any, ...]) -> int:
    """Of the model's token vectors: a multiple of 8, or 0 where there are none."""
    import torch

    with torch.inference_mode():
        found = model({"input_ids": example[0], "attention_mask": example[1]}).get("token_embeddings")
    if not torch.is_tensor(found) or found.dim() != 3 or found.shape[:2] != example[0].shape:
        return 0
    return 0 if found.shape[2] % 8 else int(found.shape[2])
