"""What a training job is to do, as the file ``job.json`` in its folder. A wrong value is named in one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from assistant.errors import AlmanacError
from workers.finetuning.writing import write_whole

FILE = "job.json"
REPORT = "report.json"  # the last file of a job: where it is, the job is done
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class BadJob(AlmanacError):
    """A job cannot be done as it is written; the sentence says why."""


class Stopped(AlmanacError):
    """Somebody asked the job to stop; it goes on from its checkpoint when it is started again."""


@dataclass(frozen=True, slots=True)
class Job:
    """``model``: the base's folder; ``base``: its name. ``train``, ``held_out``: JSON Lines beside it.

    A step of the optimiser sees about ``step_tokens`` tokens (default: 2,048, on a GPU more where there are many); no
    sequence is longer than ``context``. The held-out text
    is measured ``evaluations`` times, on at most ``held_out_tokens``; after ``patience`` times without a gain training
    ends. ``max_steps`` and ``time_limit`` (seconds) shorten it, and the learning rate still falls to zero. A
    checkpoint is written every ``checkpoint_every`` seconds. Empty ``targets`` are all linear layers but the head.
    """

    model: str
    base: str
    train: str = "train.jsonl"
    held_out: str = "held_out.jsonl"
    method: Literal["lora", "full"] = "lora"
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    learning_rate: float = 1e-3
    epochs: int = 1
    step_tokens: int | None = None
    context: int = 1_024
    max_steps: int | None = None
    time_limit: float | None = None
    patience: int = 3
    evaluations: int = 8
    held_out_tokens: int = 8_192
    checkpoint_every: float = 60.0
    seed: int = 0
    dollars_per_hour: float = 0.0
    device: str | None = None
    # Of the frozen weights; default: what is fast there. 4bit is NF4 under the adapter, on a GPU.
    precision: Literal["bfloat16", "float32", "4bit"] | None = None
    gradient_checkpointing: bool | None = None  # default: where a GPU's memory would not be enough without

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "epochs", "context", "patience", "evaluations", "held_out_tokens"):
            if getattr(self, name) <= 0:
                raise BadJob(f"{name} is {getattr(self, name)}, and must be more than 0.")
        for name in ("step_tokens", "max_steps", "time_limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise BadJob(f"{name} is {value}, and must be more than 0.")
        if not 0 < self.learning_rate < 1:
            raise BadJob(f"learning_rate is {self.learning_rate}, and must lie between 0 and 1.")
        if not 0 <= self.dropout < 1:
            raise BadJob(f"dropout is {self.dropout}, and must be at least 0 and less than 1.")
        if self.method not in ("lora", "full"):
            raise BadJob(f"method is {self.method}, and must be lora or full.")
        if self.precision not in (None, "bfloat16", "float32", "4bit"):
            raise BadJob(f"precision is {self.precision}, and must be bfloat16, float32 or 4bit.")
        if self.precision == "4bit" and self.method == "full":
            raise BadJob("Weights in 4bit cannot be trained themselves; method must be lora.")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Raises BadJob for a missing or wrong file."""
        try:
            values = json.loads((folder / FILE).read_text())
        except OSError:
            raise BadJob(f"There is no {FILE} in {folder}.") from None
        except ValueError:
            raise BadJob(f"{FILE} in {folder} is not JSON.") from None
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"model", "base"} <= set(values):
            raise BadJob(f"{FILE} must name model and base.")
        if unknown := sorted(set(values) - known):
            raise BadJob(f"{FILE} names {unknown[0]}, which is no part of a job.")
        try:
            return cls(**{**values, "targets": tuple(values.get("targets", LINEAR))})
        except TypeError as error:
            raise BadJob(f"A value in {FILE} is of the wrong kind: {error}.") from None

    def write(self, folder: Path) -> None:
        """Write ``job.json``, making the folder where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, json.dumps(asdict(self), indent=2).encode())

    def rows(self, folder: Path, file: str) -> list[dict[str, Any]]:
        """The rows of ``train`` or ``held_out``. Raises BadJob for a missing, empty or broken file."""
        try:
            lines = (folder / file).read_bytes().splitlines()  # a text's would end at a U+2028 in it, too
            rows = [json.loads(line) for line in lines if line]
        except OSError:
            raise BadJob(f"There is no {file} in {folder}.") from None
        except ValueError:
            raise BadJob(f"{file} in {folder} is not JSON Lines.") from None
        if not rows:
            raise BadJob(f"{file} holds no texts: there is nothing to learn from.")
        if broken := next((at for at, row in enumerate(rows) if not {"text", "messages"} & set(row)), None):
            raise BadJob(f"Row {broken + 1} of {file} has neither text nor messages.")
        return rows
