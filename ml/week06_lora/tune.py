"""The loop: full fine-tuning, LoRA and QLoRA differ in what requires a gradient, and in nothing else.

Source: AdamW, Loshchilov and Hutter (2017); a linear warm-up and decay, as in the LoRA paper.
Left out: gradient accumulation and clipping schedules, mixed precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ml.week06_lora.examples import Batch, causal_loss
from ml.week06_lora.memory import Memory, measure


@dataclass
class Tuned:
    """What a run of training left behind: losses in nats, CPU seconds a step, bytes."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    memory: Memory | None = None


def tune(
    model: nn.Module,
    batches: Iterable[Batch],
    total: int,
    peak: float,
    after: Callable[[int], None] = lambda step: None,
) -> Tuned:
    """One AdamW step a batch on what requires a gradient, ``total`` of them; ``after(step)`` is called behind each.

    ``model`` maps ids (B, T) to logits (B, T, V). ``peak`` is the largest learning rate: for SmolLM2 1e-3 with LoRA and
    1e-4 in full; a matrix that is written as a product moves less for the same step. Raises ValueError when nothing
    requires a gradient.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("Nothing in this model requires a gradient.")
    optimiser = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.0)
    result = Tuned()
    model.train()
    for step, batch in enumerate(batches):
        started = time.process_time()
        optimiser.param_groups[0]["lr"] = peak * rate(step, total)
        loss = causal_loss(model(batch.ids), batch.labels)  # ()
        loss.backward()  # through the frozen layers too: the adapters below them need dL/dx
        nn.utils.clip_grad_norm_(parameters, 1.0)  # one odd batch cannot throw the weights far
        optimiser.step()
        result.seconds += (time.process_time() - started) / total
        result.losses.append(loss.item())
        result.memory = result.memory or measure(model, optimiser)  # now, while the gradients are there
        optimiser.zero_grad()
        after(step + 1)
    model.eval()
    return result


def rate(step: int, total: int) -> float:
    """The part of the peak learning rate: up over the first tenth of the steps, then straight down to almost 0."""
    warm = max(1, total // 10)
    return (step + 1) / warm if step < warm else (total - step) / (total - warm + 1)


@torch.inference_mode()
def evaluate(model: Callable[[Tensor], Tensor], batches: Sequence[Batch]) -> float:
    """The mean loss over all scored tokens of ``batches``, in nats."""
    total = sum(causal_loss(model(batch.ids), batch.labels).item() * batch.scored for batch in batches)
    return total / sum(batch.scored for batch in batches)


def perplexity(model: Callable[[Tensor], Tensor], batches: Sequence[Batch]) -> float:
    """exp of the mean loss. One tokenizer throughout this week, so perplexities can be compared."""
    return math.exp(evaluate(model, batches))
