"""Answers to the exercises in README.md."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ml.week04_transformers.cache import cache_bytes
from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week04_transformers.heads import attention_maps
from ml.week04_transformers.induction import half_losses, induction_scores, repeated_tokens, without_heads


def order_matters(layers: int, seed: int = 0) -> float:
    """Exercise 1: how far the last token's logits move when the tokens before it change places, without positions.

    All tokens are said to stand at position 0, so the rotary angles are all 0. Returns the largest difference.
    """
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(DecoderConfig(vocabulary=30, context=16, width=32, layers=layers, heads=4)).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    ids = torch.randperm(30, generator=generator)[None, :10]  # (1, 10), all different
    shuffled = torch.cat((ids[:, :9].flip(1), ids[:, 9:]), dim=1)  # (1, 10)
    nowhere = torch.zeros_like(ids)  # (1, 10)
    with torch.no_grad():
        difference = model(ids, positions=nowhere) - model(shuffled, positions=nowhere)  # (1, 10, V)
    return difference[:, -1].abs().max().item()


def sliding_mask(queries: int, keys: int, window: int) -> Tensor:
    """Exercise 2: (T, S) bool, causal, and nobody looks further back than the last ``window`` tokens, itself included.

    Mistral 7B's attention; its cache never needs more than ``window`` positions.
    """
    if window < 1:
        raise ValueError(f"A window holds at least the token itself, not {window}.")
    position = torch.arange(keys - queries, keys)  # (T,)
    distance = position[:, None] - torch.arange(keys)[None, :]  # (T, S)   i - j
    return (distance >= 0) & (distance < window)  # (T, S)


def reach(layers: int, window: int, length: int = 40) -> int:
    """Exercise 2: how many tokens back the last position's output depends on, by its gradient."""
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(vocabulary=20, context=length, width=16, layers=layers, heads=2))
    ids = torch.randint(0, 20, (1, length))  # (1, T)
    vectors = model.embedding(ids).detach().requires_grad_()  # (1, T, C)
    hook = model.embedding.register_forward_hook(lambda *_: vectors)
    model(ids, mask=sliding_mask(length, length, window)[None])[0, -1].square().sum().backward()
    hook.remove()
    touched = vectors.grad[0].abs().sum(dim=-1) > 0  # (T,)
    return length - 1 - int(touched.nonzero()[0])


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    """Exercise 3: attention (T, D), (S, D), (S, E) to (T, E) that never holds more than ``block`` scores of a query.

    The softmax needs the largest score and the sum before it can divide. Keep both as running values, and when a block
    brings a larger maximum, shrink what was summed so far by exp(old - new): FlashAttention's "online softmax".
    """
    if block < 1:
        raise ValueError(f"A block needs at least one key, not {block}.")
    largest = torch.full((len(query), 1), -math.inf)  # (T, 1)   m
    total = torch.zeros(len(query), 1)  # (T, 1)   l = Σ exp(s - m)
    mixed = torch.zeros(len(query), value.shape[1])  # (T, E)   Σ exp(s - m) v
    for keys, values in zip(key.split(block), value.split(block), strict=True):
        scores = query @ keys.T / math.sqrt(query.shape[1])  # (T, block)
        higher = torch.maximum(largest, scores.max(dim=1, keepdim=True).values)  # (T, 1)   m'
        shrink, weights = (largest - higher).exp(), (scores - higher).exp()  # (T, 1), (T, block)
        total = total * shrink + weights.sum(dim=1, keepdim=True)  # (T, 1)
        mixed = mixed * shrink + weights @ values  # (T, E)
        largest = higher
    return mixed / total  # (T, E)


def texts_that_fit(memory: int, tokens: int, layers: int, kv_heads: int, head_width: int) -> int:
    """Exercise 4: how many texts of ``tokens`` tokens a half-precision cache of ``memory`` bytes holds."""
    return memory // cache_bytes(layers, kv_heads, head_width, tokens)


def knock_out(model: Decoder, count: int = 10, length: int = 25, seed: int = 0) -> dict[str, float]:
    """Exercise 5: the loss on the second half of repeated random tokens, whole and without ``count`` heads.

    Once without the heads of the highest induction score, once without as many drawn from the rest.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = repeated_tokens(2, length, model.config.vocabulary, generator)  # (2, 2 · length)
    scores = induction_scores(attention_maps(model, ids))  # (layers, H)
    order = scores.flatten().argsort(descending=True)  # (layers · H,)
    others = order[count:][torch.randperm(len(order) - count, generator=generator)[:count]]  # (count,)
    losses = {"whole": half_losses(model, ids)[1]}
    for name, chosen in (("without induction heads", order[:count]), ("without other heads", others)):
        heads = [divmod(place, scores.shape[1]) for place in chosen.tolist()]
        with without_heads(model, heads):
            losses[name] = half_losses(model, ids)[1]
    return losses
