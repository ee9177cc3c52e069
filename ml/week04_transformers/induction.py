"""Induction heads: how attention finds "what came after this the last time".

Idea.    Give a model random tokens, then the same ones again. Nothing in its training helps with the first half; in the
         second half a head that looks from each token to the one AFTER its earlier copy can read off the answer. That
         is copying from context, the root of in-context learning. We find such heads and cut them out to see that the
         ability goes with them.
Source.  Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021); Olsson et al., "In-context Learning
         and Induction Heads" (2022), whose prefix-matching score this is.
Left out. The earlier "previous-token" heads that they build on, and how the pair forms during training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ml.week04_transformers.decoder import Decoder


def repeated_tokens(rows: int, length: int, vocabulary: int, generator: torch.Generator) -> Tensor:
    """(rows, 2 · length) random ids whose second half repeats the first."""
    half = torch.randint(100, vocabulary, (rows, length), generator=generator)  # (rows, length); no special tokens
    return torch.cat((half, half), dim=1)  # (rows, 2 · length)


def induction_scores(maps: list[Tensor]) -> Tensor:
    """Attention maps of repeated tokens, a (B, H, 2L, 2L) each layer, to scores (layers, H) from 0 to 1.

    The score is the mean weight that a token of the second half, at i, gives to i - L + 1: what followed its copy.
    """
    length = maps[0].shape[-1] // 2
    diagonals = [layer.diagonal(offset=1 - length, dim1=-2, dim2=-1) for layer in maps]  # (B, H, L + 1) each
    return torch.stack([diagonal[..., 1:].mean(dim=(0, 2)) for diagonal in diagonals])  # (layers, H)


@torch.no_grad()
def half_losses(model: Decoder, ids: Tensor) -> tuple[float, float]:
    """Mean loss in nats on the first and on the second half of repeated tokens ids (B, 2L)."""
    log_p = model(ids[:, :-1]).log_softmax(dim=-1)  # (B, 2L - 1, V)
    loss = -log_p.gather(-1, ids[:, 1:, None])[..., 0]  # (B, 2L - 1)
    half = ids.shape[1] // 2
    return loss[:, : half - 1].mean().item(), loss[:, half:].mean().item()


@contextmanager
def without_heads(model: Decoder, heads: Iterable[tuple[int, int]]) -> Iterator[None]:
    """Inside, the given (layer, head) pairs add nothing: their columns of the output matrix are 0."""
    kept = []
    for layer, head in heads:
        attention = model.blocks[layer].attention
        columns = attention.output.weight.data[:, head * attention.size : (head + 1) * attention.size]  # (C, D), a view
        kept.append((columns, columns.clone()))
        columns.zero_()
    try:
        yield
    finally:
        for columns, values in reversed(kept):
            columns.copy_(values)
