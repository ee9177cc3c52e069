"""One job of training: measured before, step by step, measured after, and at any moment ready to be killed.

The same script runs alone and in each of the processes that ``accelerate launch`` starts; the first one writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import Tensor

from assistant.errors import AlmanacError
from workers.finetuning import adapting, checkpoints, schedule
from workers.finetuning.estimate import Estimate, estimate
from workers.finetuning.job import BadJob, Job, Stopped
from workers.finetuning.packing import Encoded, encode
from workers.finetuning.passes import Passes
from workers.finetuning.perplexity import mean_loss
from workers.finetuning.progress import Reporter
from workers.finetuning.records import Losses, write_report

log = structlog.get_logger()

CLIP = 1.0  # the gradient's norm: one odd step cannot throw the weights far
WORTH = 1e-3  # a gain in nats that patience counts as one


class TrainingFailed(AlmanacError):
    """Training cannot go on; the sentence says why."""


@dataclass
class Standing:
    """All that changes while a job runs, beside tensors; what a checkpoint holds of it comes back as it was."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of all attempts
    before: float | None = None  # held-out loss
    best: float = math.inf
    best_step: int = 0
    waited: int = 0  # evaluations since the last gain
    ended_early: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "best": None if math.isinf(self.best) else self.best}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Standing:
        known = {name: state[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "best": math.inf if known["best"] is None else known["best"]})


@dataclass
class Training:
    """``folder`` holds ``job.json`` and its data, and receives all that comes of them. ``stop``: asked at every row."""

    folder: Path
    job: Job
    accelerator: Any
    reporter: Reporter
    stop: Callable[[], bool]
    now: Standing = field(default_factory=Standing)
    best: dict[str, Tensor] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the report. Raises Stopped, TrainingFailed, BadJob."""
        self._prepare()
        resumed = self._resume()
        self._losses = Losses(self.folder, self.now.step, quiet=not self._writes)
        self.reporter.tell(state="estimating", resumed_from=self.now.step if resumed else None)
        self._estimate()
        self._began = time.monotonic() - self.now.seconds
        self._saved = time.monotonic()
        if self.now.before is None:
            self.now.before = self._held_out()
            self._losses.held_out(0, self.now.before)
        while self.now.step < len(self._steps) and self.now.ended_early is None:
            self._one_step()
        return self._finish()

    # --- before

    def _prepare(self) -> None:
        job, device = self.job, self.accelerator.device
        self._learner = adapting.learner(job, device)
        rows = {name: job.rows(self.folder, file) for name, file in (("train", job.train), ("held", job.held_out))}
        train, held = (encode(rows[name], self._learner.tokenizer, job.context) for name in ("train", "held"))
        for name, encoded in ((job.train, train), (job.held_out, held)):
            _check(name, encoded, job.context)
        self._held = schedule.held_out_part(held.examples, job.held_out_tokens)
        self._left_out = train.too_long
        self._steps = schedule.steps(train.examples, job, device.type, self.accelerator.num_processes)
        self._trained = list(self._learner.trained.values())
        optimiser = torch.optim.AdamW(self._trained, lr=job.learning_rate, weight_decay=0.0, fused=True)
        self._objective, self._optimiser = self.accelerator.prepare(self._learner.objective, optimiser)
        if self.accelerator.num_processes == 1:
            self._objective = self._learner.objective
        self._passes = Passes(
            self._learner, self._objective, job, self._steps, train.examples, self.accelerator, self._compute
        )
        self._names = list(self._learner.trained)

    def _resume(self) -> bool:
        found = checkpoints.newest(self.folder)
        if found is None:
            return False
        tensors, state = found.tensors, found.state
        adapting.put(self._learner.trained, _part(tensors, "now/"))
        checkpoints.restore_optimiser(self._plain_optimiser, self._names, tensors)
        self.best = _part(tensors, "best/")
        torch.set_rng_state(tensors["random"].to(torch.uint8))
        if self.accelerator.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"].to(torch.uint8))
        self.now = Standing.of(state)
        log.info("finetuning.resumed", step=self.now.step)
        return True

    def _estimate(self) -> None:
        """Measured once: a job that goes on keeps the number of steps that it began with."""
        self._expected = Estimate.read(self.folder)
        if self._expected is None:
            self._expected = estimate(
                self._steps, self.job, partial(self._passes, weight=0.0), self._held_out_pass, self.accelerator
            )
            self._passes.zero(self._optimiser)
            if self._writes:
                self._expected.write(self.folder)
        self._steps = self._steps[: self._expected.steps]
        self._evaluated = schedule.evaluated_after(len(self._steps), self.job.evaluations)
        total = sum(step.tokens for step in self._steps)
        self.reporter.tell(
            state="training", step=self.now.step, steps=len(self._steps), tokens=self.now.tokens, tokens_total=total,
            seconds=self.now.seconds, seconds_left=max(0.0, self._expected.seconds - self.now.seconds),
            cost_usd_total=self._expected.cost_usd,
        )  # fmt: skip

    # --- the loop

    def _one_step(self) -> None:
        step = self._steps[self.now.step]
        for group in self._optimiser.param_groups:
            group["lr"] = self.job.learning_rate * schedule.rate(self.now.step, len(self._steps))
        began = time.monotonic()
        mine = step.rows[self.accelerator.process_index]
        random = torch.get_rng_state()
        loss = torch.zeros((), device=self.accelerator.device)
        for place, pack in enumerate(mine):
            last = place == len(mine) - 1
            loss += self._passes(pack, step.counted, sync=last)
            if self.accelerator.num_processes == 1 and not last and self.stop():
                torch.set_rng_state(random)  # the step is made anew
                self._give_way()
        self._update()
        if self.now.step + 1 < len(self._steps):
            self._passes.prepare(self._steps[self.now.step + 1].rows[self.accelerator.process_index][0])
        self._loss = self._finite(float(self.accelerator.reduce(loss, "sum")))
        self.now.step += 1
        self.now.tokens += step.tokens
        self._told(step.tokens / (time.monotonic() - began))
        if self.now.step in self._evaluated:
            self._evaluate()
        elif time.monotonic() - self._saved > self.job.checkpoint_every:
            self._save()
        if self._asked_to_stop():
            self._give_way()

    def _finite(self, loss: float) -> float:
        """Looked at when the step is made, so that no GPU waits; of weights gone wrong nothing is kept."""
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"The loss is not a number at step {self.now.step + 1}; a lower learning rate than "
                f"{self.job.learning_rate:g} may help."
            )
        return loss

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._trained, CLIP)
        self._optimiser.step()
        self._passes.zero(self._optimiser)

    def _told(self, speed: float) -> None:
        now, steps = self.now, len(self._steps)
        now.seconds = time.monotonic() - self._began
        self._losses.step(now.step, self._loss, now.tokens, speed)
        assert self._expected is not None
        left = self._expected.left(self.reporter.now.tokens_total - now.tokens, now)
        hours = self.job.dollars_per_hour / 3600
        self.reporter.tell(
            state="training", step=now.step, steps=steps, tokens=now.tokens, loss=self._loss, tokens_per_second=speed,
            seconds=now.seconds, seconds_left=left, cost_usd=hours * now.seconds,
            cost_usd_total=hours * (now.seconds + left),
        )  # fmt: skip

    def _evaluate(self) -> None:
        loss = self._held_out()
        self._losses.held_out(self.now.step, loss)
        self.now.waited = 0 if loss < self.now.best - WORTH else self.now.waited + 1
        if loss < self.now.best:
            self.now.best, self.now.best_step = loss, self.now.step
            self.best = adapting.weights(self._learner.trained)
        if self.now.waited >= self.job.patience:
            self.now.ended_early = "patience"
        self._save()

    def _held_out(self) -> float:
        self.reporter.tell(state="evaluating")
        loss = self._held_out_pass()
        self.reporter.tell(state="training", held_out_loss=loss)
        return loss

    def _held_out_pass(self, most: int | None = None) -> float:
        """Every process measures all of it, so that they agree without talking."""
        some = self._held[:most]
        return mean_loss(self._learner.objective, some, self.accelerator.device, compute=self._compute)

    def _compute(self) -> AbstractContextManager[Any]:
        if not self._learner.autocast:
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, torch.bfloat16)

    # --- checkpoints and the end

    def _save(self) -> None:
        self._saved = time.monotonic()
        self.now.seconds = time.monotonic() - self._began
        if not self._writes:
            return
        tensors = {f"now/{name}": value for name, value in adapting.weights(self._learner.trained).items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= checkpoints.optimiser_tensors(self._plain_optimiser, self._names)
        tensors["random"] = torch.get_rng_state()
        if self.accelerator.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        try:
            checkpoints.save(self.folder, checkpoints.Checkpoint(tensors, self.now.as_json()))
            self.reporter.tell(warning=None)
        except OSError as error:  # training goes on, and the checkpoint before stays
            log.warning("finetuning.checkpoint_not_written", error=error.strerror)
            self.reporter.tell(warning=f"The checkpoint could not be written: {error.strerror}.")

    def _asked_to_stop(self) -> bool:
        """Several processes end at the same step, or they would wait for each other for ever."""
        if self.accelerator.num_processes == 1:
            return self.stop()
        asked = torch.tensor(float(self.stop()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def _give_way(self) -> None:
        self._passes.zero(self._optimiser)
        self._save()
        raise Stopped("The job was asked to stop; started again, it goes on from its checkpoint.")

    def _finish(self) -> dict[str, Any]:
        if self.best:
            adapting.put(self._learner.trained, self.best)
        self.now.seconds = time.monotonic() - self._began
        if not self._writes:
            return {}
        try:
            adapting.write_adapter(self._learner, self.folder / adapting.ADAPTER, self.job.base)
        except Exception as error:  # safetensors has errors of its own for a full disk
            raise TrainingFailed(f"The adapter could not be written: {error}.") from error
        assert self._expected is not None
        return write_report(self.folder, self.job, self._learner, self.now, self._expected, self._losses)

    @property
    def _writes(self) -> bool:
        return bool(self.accelerator.is_main_process)

    @property
    def _plain_optimiser(self) -> torch.optim.Optimizer:
        """Without accelerate's wrapper."""
        plain: torch.optim.Optimizer = getattr(self._optimiser, "optimizer", self._optimiser)
        return plain


def _check(name: str, encoded: Encoded, context: int) -> None:
    if not encoded.examples:
        why = f": all {encoded.too_long} are longer than {context} tokens" if encoded.too_long else ""
        raise BadJob(f"{name} holds nothing that can be learned from{why}.")


def _part(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
