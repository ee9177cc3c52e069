"""Which sequences each step sees, and at which learning rate: functions of the job alone, so that a job that goes on
after a kill sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.finetuning.job import Job
from workers.finetuning.packing import Example, packs

CPU_ROW = 2_048  # tokens in one pass: more would only need more memory
GPU_ROW = 16_384
STEP = 2_048  # tokens that the optimiser sees at a time, where the job does not say
GPU_STEPS = 128  # on a GPU, which is idle in small steps, no more of them than so many an epoch


@dataclass(frozen=True, slots=True)
class Step:
    """``rows[r]``: the packs of process r, each a list of indices; ``counted``: scored tokens of all of them."""

    rows: tuple[tuple[tuple[int, ...], ...], ...]
    tokens: int
    counted: int


def step_tokens(job: Job, device: str, total: int) -> int:
    """Of one step, for ``total`` tokens to train on."""
    if job.step_tokens is not None:
        return job.step_tokens
    return STEP if device != "cuda" else min(GPU_ROW, max(STEP, total // GPU_STEPS))


def row_tokens(context: int, step: int, device: str, world: int) -> int:
    """The most tokens in one pass of one process."""
    most = GPU_ROW if device == "cuda" else CPU_ROW
    return max(context, min(step // world, most))


def steps(examples: Sequence[Example], job: Job, device: str, world: int = 1) -> list[Step]:
    """All steps of all epochs. With several processes each has as many rows in a step: the last ones may be empty."""
    lengths = [len(example.ids) for example in examples]
    in_one = step_tokens(job, device, sum(lengths))
    budget = row_tokens(job.context, in_one, device, world)
    in_step = max(1, in_one // (budget * world)) * world
    found: list[Step] = []
    for epoch in range(job.epochs):
        order = packs(lengths, budget, seed=job.seed, epoch=epoch)
        for start in range(0, len(order), in_step):
            some = order[start : start + in_step]
            rows = tuple(tuple(tuple(pack) for pack in some[process::world]) for process in range(world))
            longest = max(map(len, rows))
            rows = tuple(row + ((),) * (longest - len(row)) for row in rows)
            indices = [index for pack in some for index in pack]
            counted = sum(examples[index].counted for index in indices)
            found.append(Step(rows, sum(lengths[index] for index in indices), counted))
    return found[: job.max_steps]


def longest(steps: Sequence[Step], examples: Sequence[Example]) -> int:
    """Tokens of the longest row."""
    packs = (pack for step in steps for rows in step.rows for pack in rows)
    return max(sum(len(examples[index].ids) for index in pack) for pack in packs)


def rate(step: int, total: int) -> float:
    """The part of the peak learning rate: up over the first twentieth of the steps, then straight down to almost 0."""
    warm = max(1, total // 20)
    return (step + 1) / warm if step < warm else (total - step) / (total - warm + 1)


def evaluated_after(total: int, evaluations: int) -> frozenset[int]:
    """The steps after which the held-out text is measured, evenly spread; the last one is among them."""
    return frozenset(round(total * part / evaluations) for part in range(1, evaluations + 1)) - {0}


def held_out_part(examples: Sequence[Example], most: int) -> list[Example]:
    """Whole sequences of at most about ``most`` tokens, evenly from all of them; at least one."""
    total = sum(len(example.ids) for example in examples)
    if total <= most:
        return list(examples)
    wanted = max(1, int(len(examples) * most / total))
    every = len(examples) / wanted
    return [examples[int(place * every)] for place in range(wanted)]
