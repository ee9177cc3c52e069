"""The loss of a packed row, without ever holding the logits of all its tokens.

The head of a small model with a large vocabulary makes the largest tensor of a step: 49,152 numbers a token. Only
labelled tokens need them, and those in blocks: where the head itself is not trained, a block's gradient is known as
soon as its loss is, so the logits are thrown away at once and never computed again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workers.finetuning.packing import IGNORED, Packed

BLOCK = 256  # tokens whose logits exist at the same time
GPU_LOGITS = 2**26  # and how many logits on a GPU, which wants larger products
OWN_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")  # models that do more than multiply


class Objective(nn.Module):
    """``model``: a causal language model, also in peft's wrapper, that ``use_packed`` was called on."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list: it is no second child
        self._plain = not any(getattr(causal.config, name, None) for name in OWN_LOGITS)

    def forward(self, batch: Packed) -> Tensor:
        """The sum over all scored tokens of the negative log-probability, in nats: ()."""
        (causal,) = self._causal
        given = {
            "input_ids": batch.ids, "position_ids": batch.positions, "use_cache": False, "lengths": batch.lengths,
            "bounds": batch.bounds, "longest": batch.longest,
            # What looks like a finished mask is passed on. Without one transformers would look through the positions
            # for sequences, and a GPU would be waited for.
            "attention_mask": batch.targets.new_ones((1, 1, 1, 1)),
        }  # fmt: skip
        targets = batch.targets[batch.scored]  # by place and not by a mask, whose size a GPU would have to be asked for
        if not self._plain:
            logits = causal(**given).logits[0, batch.scored].float()  # (S, V)
            return nn.functional.cross_entropy(logits, targets, reduction="sum")
        hidden = getattr(causal, causal.base_model_prefix)(**given).last_hidden_state[0]  # (T, C)
        head = causal.get_output_embeddings()
        if batch.filled or batch.counted < len(hidden):
            hidden = hidden.index_select(0, batch.scored)  # (S, C)
        return head_loss(hidden, head.weight, head.bias, targets, filled=batch.filled)


def head_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, filled: bool = False) -> Tensor:
    """Summed cross entropy of ``hidden`` (S, C) through a head (V, C) against ``targets`` (S,): (). ``filled``: some of
    them may be IGNORED."""
    if weight.requires_grad or bias is not None:
        size = _tokens(weight)
        blocks = zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
        parts = [torch.utils.checkpoint.checkpoint(_block, h, weight, bias, t, use_reentrant=False) for h, t in blocks]
        return torch.stack(parts).sum()
    counts = targets.ne(IGNORED) if filled else None
    return _FrozenHead.apply(hidden, weight, targets.clamp_min(0) if filled else targets, counts)  # type: ignore[no-any-return, no-untyped-call]


def _tokens(weight: Tensor) -> int:
    """In a block."""
    return max(BLOCK, GPU_LOGITS // len(weight)) if weight.device.type == "cuda" else BLOCK


def _block(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(nn.functional.linear(hidden, weight, bias).float(), targets, reduction="sum")


class _FrozenHead(torch.autograd.Function):
    """Loss and dL/dhidden in one pass: softmax(logits) less one at the target, times the head."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, counts: Tensor | None) -> Tensor:
        gradient = torch.empty_like(hidden) if hidden.requires_grad else None
        total = hidden.new_zeros((), dtype=torch.float32)
        size = _tokens(weight)
        for start in range(0, len(hidden), size):
            some, wanted = hidden[start : start + size], targets[start : start + size, None]
            logits = some @ weight.T  # (size, V)
            if logits.device.type == "cuda":  # one kernel, where the CPU is faster in steps
                logs = torch.log_softmax(logits, 1, dtype=torch.float32)
                losses = -logs.gather(1, wanted)
            else:
                logs = logits.float()
                chosen = logs.gather(1, wanted)
                sums = logs.logsumexp(1, keepdim=True)
                losses = sums - chosen
                logs = logs.sub_(sums) if gradient is not None else logs
            scored = None if counts is None else counts[start : start + size, None]
            total += losses.sum() if scored is None else (losses * scored).sum()
            if gradient is not None:
                moved = logs.exp_().scatter_add_(1, wanted, torch.full_like(losses, -1.0))
                found = moved.to(weight.dtype) @ weight
                gradient[start : start + size] = found if scored is None else found * scored
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * above[0].to(gradient.dtype), None, None, None
