"""The objective of pretraining: predict the next token; and what the loss is worth, per token and per byte.

    loss       = - 1/(T-1)  sum over t of  log p(id[t+1] | id[1..t])       nats a token
    perplexity = exp(loss)                                                  "as unsure as among so many equal tokens"
    bits a byte = (sum of the losses in nats) / (ln 2 x bytes of the text)

One text gives T-1 exercises at once, because the causal mask keeps each position from seeing its answer. The shift by
one is the whole trick, and the usual mistake: the logits at position t are about the token at t+1.

Perplexity counts per token, so a tokenizer with longer tokens makes it worse without making the model worse. Bits a
byte divides by something that no tokenizer can change; it is also the size the text would have, compressed by this
model.

Source: Radford et al. (2018, 2019); Shannon, "Prediction and Entropy of Printed English" (1951).
Left out: label smoothing, and packing several documents in one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

IGNORE = -100  # a label that is not scored: padding, or a prompt. The number is PyTorch's convention.


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of each label given the tokens before it, in nats; 0 where the label is ``IGNORE``.

    ``logits`` (B, T, V) and ``labels`` (B, T), which are the input ids (with ``IGNORE`` in places), *not* shifted:
    that happens here. Returns (B, T-1). Raises ValueError when the shapes do not fit or there is nothing to predict.
    """
    if logits.shape[:2] != labels.shape:
        raise ValueError(f"Logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit together.")
    if labels.shape[1] < 2:
        raise ValueError("A text of one token has nothing to predict.")
    guesses = logits[:, :-1].float()  # (B, T-1, V): position t ...
    answers = labels[:, 1:]  # (B, T-1): ... is asked about t+1
    scored = answers != IGNORE  # (B, T-1)
    # log softmax = logits - log sum exp(logits); the maximum is taken out first, or exp would overflow
    top = guesses.amax(dim=-1, keepdim=True)  # (B, T-1, 1)
    log_total = (guesses - top).exp().sum(dim=-1).log() + top.squeeze(-1)  # (B, T-1)
    chosen = guesses.gather(-1, answers.clamp(min=0).unsqueeze(-1)).squeeze(-1)  # (B, T-1)
    return (log_total - chosen) * scored  # (B, T-1)


def causal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the scored tokens, in nats: (B, T, V), (B, T) -> ().

    The mean is over tokens, not over rows: a long row counts for more. Raises ValueError when no token is scored.
    """
    losses = token_losses(logits, labels)  # (B, T-1)
    scored = (labels[:, 1:] != IGNORE).sum()  # ()
    if scored == 0:
        raise ValueError("All labels are ignored; there is nothing to learn from.")
    return losses.sum() / scored  # ()


def perplexity(loss: float) -> float:
    """exp(loss): of how many equally likely tokens the next one might as well have been."""
    return math.exp(loss)


def bits_per_byte(nats: float, size: int) -> float:
    """The sum of a text's losses in nats over its ``size`` in UTF-8 bytes, as bits; raises ValueError for no bytes."""
    if size < 1:
        raise ValueError("A text without bytes has no bits per byte.")
    return nats / math.log(2) / size


def windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, first): read tokens start to end, score those from ``first`` on; each but token 0 is scored once.

    A model reads ``context`` tokens at most, a text has more. The windows overlap: a scored token has at least
    context - stride tokens before it (but for the text's own beginning), at context/stride times the work. The longest
    stride is the cheapest and the least fair to the model. Raises ValueError unless 0 < stride < context.
    """
    if not 0 < stride < context:
        raise ValueError(f"stride lies between 1 and context - 1 = {context - 1}, not {stride}.")
    scored = 1  # token 0 has nothing before it, so nobody can be asked for it
    for start in range(0, max(length - 1, 0), stride):
        end = min(start + context, length)
        yield start, end, scored
        scored = end
        if end == length:
            return


@torch.inference_mode()
def text_nats(model: Callable[[Tensor], Tensor], ids: Tensor, context: int, stride: int) -> float:
    """The sum of -log p over a whole text, in nats. ``model``: ids (1, T) -> logits (1, T, V); ``ids``: (N,)."""
    nats = 0.0
    for start, end, first in windows(len(ids), context, stride):
        row = ids[start:end].unsqueeze(0)  # (1, T)
        labels = row.clone()  # (1, T)
        labels[:, : first - start] = IGNORE  # read for its context, scored in the window before
        nats += token_losses(model(row), labels).sum().item()
    return nats
