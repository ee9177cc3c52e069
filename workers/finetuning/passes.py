"""Forward and back over the rows of a step, handed out one by one or, on a GPU, as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from workers.finetuning import adapting
from workers.finetuning.adapting import Learner
from workers.finetuning.job import Job
from workers.finetuning.packing import Example
from workers.finetuning.recorded import Recorded, Shape, recorded
from workers.finetuning.rows import Rows
from workers.finetuning.schedule import Step, longest


class Passes:
    """``passes(pack, counted)`` adds the gradients of a row of ``steps``."""

    def __init__(
        self, learner: Learner, objective: Any, job: Job, steps: Sequence[Step], examples: Sequence[Example],
        accelerator: Any, compute: Callable[[], AbstractContextManager[Any]],
    ) -> None:  # fmt: skip
        """``objective``: that of the learner, or accelerate's wrapper of it where there are several processes."""
        device = accelerator.device
        again = adapting.save_memory(learner, job, longest(steps, examples), device, compute)
        self._records = not again and accelerator.num_processes == 1 and adapting.recordable(learner, job, device)
        self._rows = Rows(examples, device, Shape.of(steps, examples) if self._records else None)
        self._objective, self._trained = objective, list(learner.trained.values())
        self._accelerator, self._compute = accelerator, compute
        self._recorded: Recorded | None = None

    def prepare(self, pack: tuple[int, ...]) -> None:
        """Have this row ready, while a GPU is still at another."""
        self._rows.prepare(pack)

    def __call__(self, pack: tuple[int, ...], counted: int, weight: float = 1.0, *, sync: bool = True) -> Tensor:
        """The gradients of one row are added; returns its part of the step's mean loss: (). An empty row of one of
        several processes takes part with a gradient of nothing."""
        row = self._rows(pack)
        if self._records:
            self._recorded = recorded(self._objective, self._trained, row, self._compute)
            self._records = False
        factor = (weight if pack else 0.0) / counted
        if self._recorded is not None:
            return self._recorded(row, factor)
        many = self._accelerator.num_processes  # whose gradients are averaged
        with nullcontext() if sync or many == 1 else self._accelerator.no_sync(self._objective):
            with self._compute():
                loss: Tensor = self._objective(row) * factor
            torch.autograd.backward(loss * many)
        return loss.detach()

    def zero(self, optimiser: Any) -> None:
        """Take the gradients away; those that a graph adds to are only set to zero."""
        optimiser.zero_grad(set_to_none=self._recorded is None)
