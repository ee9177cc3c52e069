"""What a job leaves to read: each step's loss, the curve as a picture, and the report."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import resource
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from workers.finetuning.adapting import Learner
from workers.finetuning.estimate import Estimate
from workers.finetuning.job import REPORT, Job
from workers.finetuning.writing import write_whole

LOSSES, PICTURE = "losses.jsonl", "loss.png"
PACKAGES = ("torch", "transformers", "peft", "accelerate")
NOT_HYPER = ("model", "base", "train", "held_out", "device")


class Losses:
    """The file of losses, one row a step: {step, loss, tokens, tokens_per_second} or {step, held_out_loss}. What an
    earlier attempt wrote after its last checkpoint is cut off."""

    def __init__(self, folder: Path, resumed: int, *, quiet: bool = False) -> None:
        self._path, self._quiet = folder / LOSSES, quiet
        self.rows = [row for row in _rows(self._path) if row["step"] <= resumed] if resumed else []
        if not quiet:
            write_whole(self._path, b"".join(_line(row) for row in self.rows))

    def step(self, step: int, loss: float, tokens: int, speed: float) -> None:
        self._add({"step": step, "loss": loss, "tokens": tokens, "tokens_per_second": round(speed, 1)})

    def held_out(self, step: int, loss: float) -> None:
        self._add({"step": step, "held_out_loss": loss})

    def _add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self._quiet:
            return
        try:
            with self._path.open("ab") as file:
                file.write(_line(row))
        except OSError:  # a full disk stops no training; the rows are in memory, and in the report
            pass

    def curve(self, what: str) -> list[list[float]]:
        return [[row["step"], row[what]] for row in self.rows if what in row]


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # half a line, of a process that was killed
            break
    return found


def write_report(
    folder: Path, job: Job, learner: Learner, now: Any, expected: Estimate, losses: Losses
) -> dict[str, Any]:
    """Write the picture and ``report.json``, which is the last file of a job; returns the report."""
    hours = job.dollars_per_hour / 3600
    report = {
        "base": job.base,
        "method": job.method,
        "rank": job.rank if job.method == "lora" else None,
        "trained_parameters": learner.trained_parameters,
        "parameters": learner.parameters,
        "steps": now.step,
        "tokens": now.tokens,
        "seconds": round(now.seconds, 2),
        "tokens_per_second": round(now.tokens / now.seconds, 1) if now.seconds else 0.0,
        "peak_memory_bytes": peak_memory(),
        "cost_usd": round(hours * now.seconds, 4),
        "held_out": {
            "loss_before": now.before,
            "loss_after": now.best,
            "perplexity_before": math.exp(now.before),
            "perplexity_after": math.exp(now.best),
        },
        "best_step": now.best_step,
        "stopped_early": now.ended_early,
        "estimate": {"seconds": round(expected.seconds, 1), "cost_usd": round(expected.cost_usd, 4)},
        "losses": losses.curve("loss"),
        "held_out_losses": losses.curve("held_out_loss"),
        "hyper": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(job).items()
            if name not in NOT_HYPER
        },
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
    }
    draw(report, folder / PICTURE)
    write_whole(folder / REPORT, json.dumps(report, indent=1).encode(), sync=True)
    return report


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else the most that this process has held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def draw(report: dict[str, Any], path: Path) -> None:
    """Each step's loss, its running mean, and the loss on held-out text with the step that was kept."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    steps, losses = zip(*report["losses"], strict=True)
    axis.plot(steps, losses, color="#9db8a8", linewidth=1, label="each step")
    axis.plot(steps, _smooth(losses), color="#2f6f4f", linewidth=2, label="running mean")
    held_steps, held = zip(*report["held_out_losses"], strict=True)
    axis.plot(held_steps, held, color="#b5542f", marker="o", markersize=5, linewidth=1.6, label="held out")
    held_out = report["held_out"]
    axis.plot(report["best_step"], held_out["loss_after"], color="#b5542f", marker="o", markersize=11, fillstyle="none")
    axis.set_xlabel("step")
    axis.set_ylabel("loss, nats a token")
    change = f"{held_out['perplexity_before']:.1f} → {held_out['perplexity_after']:.1f} (step {report['best_step']})"
    axis.set_title(
        f"{report['base']}, {report['tokens']:,} tokens: held-out perplexity {change}", loc="left", fontsize=11
    )
    axis.margins(y=0.12)
    axis.grid(color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _smooth(values: tuple[float, ...]) -> list[float]:
    """A running mean with a memory of about a tenth of the curve."""
    keep = 1 - 1 / max(1.0, len(values) / 10)
    found, mean = [], values[0]
    for value in values:
        mean = keep * mean + (1 - keep) * value
        found.append(mean)
    return found
