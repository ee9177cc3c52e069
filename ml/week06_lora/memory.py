"""Where the bytes go: weights, gradients and the optimiser's state.

Adam keeps two running means per trained number (of the gradient and of its square), so in float32 full fine-tuning
needs four numbers for each weight: itself, its gradient, and two more. LoRA needs those extra three for the adapter
only; QLoRA shrinks the one that is left.

    full     16 bytes x N
    LoRA      4 bytes x N  + 16 bytes x adapter
    QLoRA    about half a byte x N + 16 bytes x adapter

Left out: activations. They grow with batch and length, are alike in all three, and are what checkpointing is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """Bytes, and the number of weights that are trained."""

    weights: int
    gradients: int
    optimiser: int
    trained: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser


def measure(model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> Memory:
    """Count what is there now, tensor by tensor; shared ones (a tied head) count once."""
    parameters = list(model.parameters())
    states = [] if optimiser is None else [state for states in optimiser.state.values() for state in states.values()]
    return Memory(
        weights=_bytes([*parameters, *model.buffers()]),
        gradients=_bytes(parameter.grad for parameter in parameters if parameter.grad is not None),
        optimiser=_bytes(state for state in states if isinstance(state, Tensor)),
        trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
