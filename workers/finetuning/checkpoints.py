"""Where an interrupted job goes on: adapter, optimiser, random numbers and counters, whole or not there.

Everything that is a tensor lies in one safetensors file (nothing is unpickled), the rest beside it as JSON with that
file's checksum. Together they are a folder that gets its name when both are on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from workers.finetuning.writing import write_whole

log = structlog.get_logger()

FOLDER = "checkpoints"
KEPT = 2  # the newest, and the one before, should the newest be damaged


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``tensors``: by name; ``state``: what is JSON, with at least ``step``."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(job: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and remove old ones. Raises OSError (a full disk), and leaves the older ones alone then."""
    folder = job / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"step-{checkpoint.state['step']:06d}"
    building = folder / f".{name}.{os.getpid()}"
    try:
        building.mkdir()
        content = bytes_of({key: tensor.detach().cpu().contiguous() for key, tensor in checkpoint.tensors.items()})
        state = {**checkpoint.state, "sha256": hashlib.sha256(content).hexdigest()}
        write_whole(building / "state.safetensors", content, sync=True)
        write_whole(building / "state.json", json.dumps(state).encode(), sync=True)
        shutil.rmtree(folder / name, ignore_errors=True)  # of an attempt that ended before its next step
        building.rename(folder / name)
        _sync(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for old in _whole(job)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(job: Path) -> Checkpoint | None:
    """The newest checkpoint that is undamaged, or None. What killed processes left half-made is removed."""
    for left in (job / FOLDER).glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in _whole(job):
        try:
            content = (folder / "state.safetensors").read_bytes()
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() == state.get("sha256"):
            return Checkpoint(tensors_of(content), state)
        log.warning("finetuning.checkpoint_damaged", checkpoint=folder.name)
    return None


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """AdamW's moments and step counts, as ``optimiser/<parameter's name>/<what>``."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return {
        f"optimiser/{name}/{what}": torch.as_tensor(value)
        for name, parameter in zip(names, parameters, strict=True)
        for what, value in optimiser.state[parameter].items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        start = f"optimiser/{name}/"
        found = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        if found:
            optimiser.state[parameter] = {
                what: value if what == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
                for what, value in found.items()
            }


def _whole(job: Path) -> list[Path]:
    """Newest first."""
    return sorted((job / FOLDER).glob("step-*"), reverse=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
