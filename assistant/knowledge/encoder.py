"""A sentence-transformers model as one call: token ids in, vectors out."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

log = structlog.get_logger()

STEP = 8  # tokens; a batch is so many wide or a multiple: every other shape would be compiled, and kept, anew
TOLERANCES = (1e-3, 0.05)  # of vectors, of length 1, and of tokens' vectors, of any, in bfloat16
_TRACING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Encoder:
    """``call``: (ids, mask), both (texts, tokens) -> (vectors (texts, dimensions), token vectors (texts, tokens,
    width)), or the vectors alone where ``width`` is 0: the model gives no token vectors, or none that can be kept."""

    call: Callable[[Any, Any], tuple[Any, ...]]
    width: int


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


def as_one_call(model: Any) -> Encoder:
    """The model as one TorchScript call, which runs without the interpreter's lock.

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
    # What is caught is the whole process's: two models that load at once would take each other's filter away.
    with _TRACING, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # shapes that tracing cannot follow: the comparison below decides
        try:
            traced = torch.jit.freeze(torch.jit.trace(plain, example, check_trace=False))  # type: ignore[no-untyped-call]
            pairs = zip(traced(*other), plain(*other), TOLERANCES, strict=False)
            same = all(torch.allclose(one, two, atol=most) for one, two, most in pairs)
        except (RuntimeError, TypeError, ValueError) as error:
            log.info("embedding.not_traced", error=type(error).__name__)
            return Encoder(plain, width)
    return Encoder(traced if same else plain, width)


def _width(model: Any, example: tuple[Any, ...]) -> int:
    """Of the model's token vectors: a multiple of 8, or 0 where there are none."""
    import torch

    with torch.inference_mode():
        found = model({"input_ids": example[0], "attention_mask": example[1]}).get("token_embeddings")
    if not torch.is_tensor(found) or found.dim() != 3 or found.shape[:2] != example[0].shape:
        return 0
    return 0 if found.shape[2] % 8 else int(found.shape[2])
