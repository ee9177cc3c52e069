"""Whether a GPU's memory holds what the backward pass needs, or whether layers must compute it again.

Computing again costs a third of the time, so it is done only where it must be: the memory of one token is measured on
two short rows, and that of the longest row follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from workers.finetuning.objective import GPU_LOGITS
from workers.finetuning.packing import IGNORED, Example, packed

SHORT = 256  # tokens of the first row that is measured; the second has twice as many
LOGIT_BYTES = 14  # of one logit in 16 bits, in 32, and with what is computed of it
STATE_BYTES = 12  # of one trained weight: its gradient, and AdamW's two means
USED = 0.9  # of what is free, since pieces do not fit without gaps


def recompute(
    objective: Any, longest: int, context: int, device: torch.device, compute: Callable[[], AbstractContextManager[Any]]
) -> bool:
    """Whether rows of ``longest`` tokens are too much for the memory of this GPU. Gradients are left as they were."""
    token = _peak(objective, 2 * SHORT, context, device, compute) - _peak(objective, SHORT, context, device, compute)
    state = STATE_BYTES * sum(parameter.numel() for parameter in objective.parameters() if parameter.requires_grad)
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return bool(longest * token / SHORT + state + LOGIT_BYTES * GPU_LOGITS > USED * free)


def _peak(
    objective: Any, tokens: int, context: int, device: torch.device, compute: Callable[[], AbstractContextManager[Any]]
) -> int:
    """Bytes that one pass forward and back takes beyond what it leaves, for a row in which little is scored."""
    length = min(context, SHORT)
    one = Example((1,) * length, (IGNORED,) * (length - 1) + (1,))
    batch = packed([one] * (tokens // length)).to(device)
    kept = {parameter: parameter.grad for parameter in objective.parameters() if parameter.grad is not None}
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with compute():
        loss = objective(batch)
    loss.backward()
    peak = torch.cuda.max_memory_allocated(device) - before
    for parameter in objective.parameters():
        parameter.grad = kept.get(parameter)
    return peak
