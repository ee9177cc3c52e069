"""Attention inside each sequence of a packed row, as a kind of attention that transformers' models can be set to.

A mask over the whole row would be exact, too, but of its T x T scores most are thrown away. Here each sequence is a
causal attention of its own. On a GPU one kernel does it for all sequences of a row (torch's ``varlen_attn``, in 16
bits); on the CPU torch's fused kernel has no fast bfloat16 (three times slower on a Zen 5 core than what stands here:
blocks of queries, each against the keys up to its own end). Elsewhere torch's attention is called for each sequence.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor

NAME = "almanac_packed"
BLOCK = 128  # queries whose scores are computed together


def use_packed(model: Any) -> None:
    """Set ``model`` to this attention. It must then be called with ``lengths=``, those of the sequences in its row, and
    ``bounds=``, where they begin and end, and ``longest=`` (``packing.Packed``)."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    model.set_attn_implementation(NAME)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The lengths say it all."""


def _packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    lengths: tuple[int, ...],
    bounds: Tensor | None = None,
    longest: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """query (1, H, T, D), key and value (1, K, T, D), K a divisor of H -> (1, T, H, D)."""
    if others.get("sliding_window") or others.get("softcap"):
        raise NotImplementedError("Attention with a window or with capped scores cannot be packed.")
    if bounds is not None and not dropout and (kind := _narrow(query)) is not None:
        q, k, v = (tensor[0].transpose(0, 1).to(kind) for tensor in (query, key, value))  # (T, heads, D) each
        return _in_one(q, k, v, bounds, longest or max(lengths), scaling)[None], None
    shared = query.shape[1] // key.shape[1]  # heads that look at the same keys
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    if query.device.type == "cpu" and query.dtype is torch.bfloat16 and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        mixed = _InBlocks.apply(query[0], key[0], value[0], scale, lengths)  # type: ignore[no-untyped-call]
        return mixed.transpose(0, 1)[None], None
    parts = [
        torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling)
        for q, k, v in zip(*(torch.split(whole, list(lengths), dim=2) for whole in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


@cache
def _kernel() -> tuple[Any, dict[str, Any]] | None:
    """torch's attention over sequences of many lengths, and what it must be told; None where torch is too old for it
    (2.11 has it)."""
    try:
        attend = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    except ImportError:
        return None
    known = inspect.signature(attend).parameters
    if not {"window_size", "scale"} <= set(known):
        return None
    # From 2.12 on it must be told that heads share keys; 2.11 takes it as it comes.
    return attend, {"window_size": (-1, 0), **({"enable_gqa": True} if "enable_gqa" in known else {})}


def attends_at_once(device: torch.device, kind: torch.dtype) -> bool:
    """Whether one kernel does it for all sequences of a row, for heads of usual sizes."""
    if device.type != "cuda" or kind not in (torch.bfloat16, torch.float16) or _kernel() is None:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 8


def usual(size: int) -> bool:
    """Of a head."""
    return size % 8 == 0 and size <= 256


def _narrow(query: Tensor) -> torch.dtype | None:
    """The precision in which that kernel may compute here; None where it may not."""
    kind = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
    return kind if usual(query.shape[-1]) and attends_at_once(query.device, kind) else None


def _in_one(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float | None) -> Tensor:
    """q (T, H, D), k and v (T, K, D) -> (T, H, D)."""
    kernel = _kernel()
    assert kernel is not None
    attend, told = kernel
    mixed: Tensor = attend(q, k, v, bounds, bounds, longest, longest, scale=scale, **told)
    return mixed


def _blocks(lengths: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(start of the sequence, first query, end) of each block of queries."""
    found, start = [], 0
    for length in lengths:
        end = start + length
        found += [(start, first, min(first + BLOCK, end)) for first in range(start, end, BLOCK)]
        start = end
    return found


class _InBlocks(torch.autograd.Function):
    """softmax(Q K' scale) V and its gradients, with the scores in float32 and the products in the inputs' precision."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, lengths: tuple[int, ...]) -> Tensor:
        """q, k, v: (H, T, D) -> (H, T, D)."""
        output = torch.empty_like(q)
        kept = []
        later = torch.ones(BLOCK, BLOCK, dtype=torch.bool).triu_(1)
        for start, first, end in _blocks(lengths):
            size = end - first
            scores = torch.bmm(q[:, first:end], k[:, start:end].transpose(1, 2)).float().mul_(scale)
            scores[:, :, first - start :].masked_fill_(later[:size, :size], -torch.inf)
            weights = torch.softmax(scores, -1).to(q.dtype)  # (H, queries, keys)
            output[:, first:end] = torch.bmm(weights, v[:, start:end])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, output, *kept)
        ctx.scale, ctx.lengths = scale, lengths
        return output

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, output, *kept = ctx.saved_tensors
        (dout,) = above
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        common = (dout.float() * output.float()).sum(-1, keepdim=True)  # (H, T, 1)
        for (start, first, end), weights in zip(_blocks(ctx.lengths), kept, strict=True):
            given = dout[:, first:end]
            dv[:, start:end] += torch.bmm(weights.transpose(1, 2), given)
            dweights = torch.bmm(given, v[:, start:end].transpose(1, 2)).float()
            dscores = dweights.sub_(common[:, first:end]).mul_(weights).mul_(ctx.scale).to(q.dtype)
            dq[:, first:end] = torch.bmm(dscores, k[:, start:end])
            dk[:, start:end] += torch.bmm(dscores.transpose(1, 2), q[:, first:end])
        return dq, dk, dv, None, None
