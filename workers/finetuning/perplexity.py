"""How well a model predicts text: the mean loss over the tokens that count, in nats, and its exponential."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from workers.finetuning.packing import Example, batches, encode

ROW, GPU_ROW = 2_048, 16_384  # tokens at a time


@torch.inference_mode()
def mean_loss(
    objective: Any,
    examples: Sequence[Example],
    device: torch.device,
    *,
    compute: Callable[[], AbstractContextManager[Any]] = nullcontext,
    between: Callable[[], None] = lambda: None,
) -> float:
    """Over all counted tokens of ``examples``; ``between`` is called after each row."""
    was = objective.training
    objective.eval()
    losses: list[torch.Tensor] = []
    counted = 0
    try:
        for batch in batches(examples, GPU_ROW if device.type == "cuda" else ROW):
            with compute():
                losses.append(objective(batch.to(device)))
            counted += batch.counted
            between()
    finally:
        objective.train(was)
    return sum(map(float, losses)) / counted


def perplexity(model: Any, tokenizer: Any, rows: Iterable[Mapping[str, Any]], context: int = 1_024) -> float:
    """Of ``rows`` as training sees them; ``model`` may be in peft's wrapper, and is left as it was."""
    from workers.finetuning.attention import use_packed
    from workers.finetuning.objective import Objective

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = causal.config._attn_implementation
    use_packed(causal)
    try:
        examples = encode(rows, tokenizer, context).examples
        return math.exp(mean_loss(Objective(model), examples, next(causal.parameters()).device))
    finally:
        causal.set_attn_implementation(before)
