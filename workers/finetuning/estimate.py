"""How long a job will take and what it will cost, measured on a few rows before it begins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from workers.finetuning.job import BadJob, Job
from workers.finetuning.schedule import Step
from workers.finetuning.writing import write_whole

FILE = "estimate_before.json"
WARM, MEASURED = 1, 2  # steps: the first is slow, since memory is asked for
HELD_OUT = 4  # sequences


@dataclass(frozen=True, slots=True)
class Estimate:
    """``steps`` that fit into the job's time limit. Times in seconds, of which ``token`` is that of one token."""

    steps: int
    seconds: float
    cost_usd: float
    token: float
    evaluation: float
    evaluations: int

    @classmethod
    def read(cls, folder: Path) -> Estimate | None:
        """What an earlier attempt measured."""
        try:
            return cls(**json.loads((folder / FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        write_whole(folder / FILE, json.dumps(asdict(self)).encode())

    def left(self, tokens: int, now: Any) -> float:
        """Seconds for so many more tokens: at the speed so far, as soon as there is one."""
        spent = now.seconds / now.tokens if now.tokens else self.token
        return max(0.0, tokens * spent)


def estimate(
    steps: Sequence[Step],
    job: Job,
    backward: Callable[[tuple[int, ...], int], Any],
    held_out: Callable[[int], Any],
    accelerator: Any,
) -> Estimate:
    """Nothing is learned from what is measured here, and no random number is used up. Raises BadJob for a time limit
    in which not even one step fits."""
    random = torch.get_rng_state()
    token = _per_token(steps, backward, accelerator)
    began = time.monotonic()
    held_out(HELD_OUT)
    torch.set_rng_state(random)
    evaluation = (time.monotonic() - began) * max(1.0, job.held_out_tokens / (HELD_OUT * job.context))
    kept, evaluations = len(steps), job.evaluations + 1
    if job.time_limit is not None:
        kept, spent = 0, evaluation * evaluations
        for step in steps:
            spent += step.tokens * token
            if spent > job.time_limit:
                break
            kept += 1
        if not kept:
            raise BadJob(f"Not even one step of training fits into {job.time_limit:.0f} seconds here.")
    seconds = sum(step.tokens for step in steps[:kept]) * token + evaluations * evaluation
    cost = job.dollars_per_hour * seconds / 3600
    slowest = torch.tensor(float(kept), device=accelerator.device)
    kept = int(accelerator.gather(slowest).min())  # all processes make the same steps
    return Estimate(kept, seconds, cost, token, evaluation, evaluations)


def _per_token(steps: Sequence[Step], backward: Callable[[tuple[int, ...], int], Any], accelerator: Any) -> float:
    """Seconds of one token of a step, over all processes."""
    seconds, tokens = 0.0, 0
    for place in range(WARM + MEASURED):
        step = steps[place % len(steps)]
        began = time.monotonic()
        backward(step.rows[accelerator.process_index][0], step.counted)
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        if place >= WARM:
            seconds += time.monotonic() - began
            tokens += step.tokens // max(1, len(step.rows[0]))  # of one row in each process
    return seconds / tokens
