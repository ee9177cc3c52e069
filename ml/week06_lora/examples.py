"""From texts to rows of ids and labels: what is learnt is only what the labels name.

A training example has a prompt, which will be given, and an answer, which the model is to write. The loss belongs to
the answer alone: labels are the ids, with -100 ("not scored") over the prompt and over the padding.

Two mistakes are common enough to have names:

- *Prompt in the labels.* The model spends its steps on learning to write questions.
- *Padding masked by id.* Many models pad with their end token (SmolLM2 does: both are ``<|im_end|>``). Whoever masks
  ``ids == pad`` masks the one real end as well, and the model never learns to stop. So the mask goes by length.

Source: the convention of -100 is PyTorch's; loss on the answer only is from Ouyang et al. (2022) and before.
Left out: packing several examples in a row, which needs a mask that keeps them from seeing each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """``ids`` and ``labels``, both (B, T); ``labels`` is ``IGNORE`` over prompts and padding."""

    ids: Tensor
    labels: Tensor

    @property
    def scored(self) -> int:
        """Tokens that the loss is about (the first of a row has nothing before it)."""
        return int((self.labels[:, 1:] != IGNORE).sum())


def make_batch(examples: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, longest: int) -> Batch:
    """Rows of (prompt ids, answer ids), cut at ``longest`` tokens and padded on the right to the longest of them.

    A causal model needs no attention mask for padding on the right: no real token can look that far. Raises ValueError
    when there are no examples, or when a prompt leaves no room for any answer.
    """
    if not examples:
        raise ValueError("A batch needs at least one example.")
    rows = [[*prompt, *answer][:longest] for prompt, answer in examples]
    width = max(map(len, rows))  # T
    ids = torch.full((len(rows), width), pad)  # (B, T)
    labels = torch.full((len(rows), width), IGNORE)  # (B, T)
    for number, (row, (prompt, _)) in enumerate(zip(rows, examples, strict=True)):
        if len(row) <= len(prompt):
            raise ValueError(f"Example {number}: a prompt of {len(prompt)} tokens leaves no answer within {longest}.")
        ids[number, : len(row)] = torch.tensor(row)
        labels[number, len(prompt) : len(row)] = ids[number, len(prompt) : len(row)]  # by place, never by id
    return Batch(ids, labels)


def causal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p over the scored tokens, in nats: (B, T, V), (B, T) -> (). Position t is asked about t + 1."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE)
