"""The run ``finetune``: data, training, gate, registry. Each step leaves a file in the run's folder, and is skipped
when it is there: whatever dies on the way, the next attempt goes on where this one was."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from assistant.database.finetuning import Version
from assistant.evaluation.support import CheckedSupport
from assistant.models.registry import Registry
from assistant.services import Services
from workers.finetuning import card, children, gate, preparing
from workers.finetuning.files import read_if_there, read_json, write_json
from workers.ingestion.lease import Lease
from workers.ingestion.report import Report

log = structlog.get_logger()

KEPT_DAYS = 7.0  # folders of runs that failed, to be looked at
ADVANCE_SECONDS = 5.0


@dataclass(slots=True)
class Work:
    """One run at work. ``arguments``: see ``preparing.Wanted``."""

    services: Services
    wanted: preparing.Wanted
    report: Report
    lease: Lease
    folder: Path
    registry: Registry
    _advanced: float = field(default=0.0)
    _furthest: int = field(default=-1)

    async def tell(self, stage: str, done: int = 0, total: int = 0, **about: Any) -> None:
        """How far the run is: published by its heartbeat, and, when it got further, as a sign that it gets anywhere."""
        self.report.done, self.report.total = done, total
        self.report.now = {"stage": stage, **{name: value for name, value in about.items() if value is not None}}
        now = time.monotonic()
        if done > self._furthest and now - self._advanced >= ADVANCE_SECONDS:
            self._furthest, self._advanced = done, now
            async with self.services.sessions.begin() as session:
                await self.lease.advance(session, self.report)


async def finetune(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """Train a version on what the index and its votes hold, measure it, keep it, and let it answer if it is better."""
    settings = services.settings
    wanted = preparing.Wanted.of(arguments, settings)
    folder = settings.home.resolve() / "finetuning" / lease.id.hex
    await asyncio.to_thread(_tidy, folder)
    work = Work(services, wanted, report, lease, folder, Registry(services.sessions, settings.adapters_url))
    if not (folder / "job.json").is_file():
        await work.tell("data")
        await preparing.prepare(services, work.registry, wanted, folder)
    await _train(work)
    if wanted.estimate:
        report.about = {"estimate": _estimate(folder)}
    else:
        found = await _measure(work)
        report.about = await _keep(work, found)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Make the run's folder; remove those of runs that failed long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder and time.time() - other.stat().st_mtime > KEPT_DAYS * 86_400:
            shutil.rmtree(other, ignore_errors=True)


async def _train(work: Work) -> None:
    if (work.folder / "report.json").is_file():
        return

    async def seen(told: Mapping[str, Any]) -> None:
        work.report.chunks = int(told.get("tokens") or 0)
        about = {name: told.get(name) for name in ("loss", "held_out_loss", "tokens_per_second", "seconds_left")}
        cost = {"cost_usd": told.get("cost_usd_total") or None}
        stage = str(told.get("state") or "training")
        await work.tell(stage, int(told.get("step") or 0), int(told.get("steps") or 0), **about, **cost)
        if work.wanted.estimate and stage == "training" and told.get("seconds_left") is not None:
            write_json(work.folder / "estimate.json", told)
            (work.folder / "stop").touch()

    try:
        command = await asyncio.to_thread(preparing.command, work.wanted, work.folder)
        await children.work(command, work.folder, "progress.json", seen)
    except children.Stopped:
        if not (work.wanted.estimate and (work.folder / "estimate.json").is_file()):
            raise


def _estimate(folder: Path) -> dict[str, Any]:
    told = read_if_there(folder / "estimate.json") or read_if_there(folder / "progress.json")
    data = read_if_there(folder / "data_card.json")
    left, tokens = float(told.get("seconds_left") or 0.0), told.get("tokens_total")
    speed = told.get("tokens_per_second") or (round(tokens / left, 1) if tokens and left else None)
    return {
        "seconds": round(float(told.get("seconds") or 0.0) + left, 1), "cost_usd": told.get("cost_usd_total"),
        "steps": told.get("steps"), "tokens": tokens, "tokens_per_second": speed, "data": data,
    }  # fmt: skip


async def _measure(work: Work) -> dict[str, Any]:
    """The gate's report."""
    folder = work.folder
    if not (folder / "gate.json").is_file():
        if not (folder / "measured.json").is_file():
            if not (folder / "measure.json").is_file():
                await asyncio.to_thread(preparing.write_measure, work.wanted, folder)

            async def seen(told: Mapping[str, Any]) -> None:
                total = int(told.get("total") or 0)
                await work.tell(f"measuring {told.get('stage') or ''}".strip(), int(told.get("done") or 0), total)

            work._furthest = -1
            command = [sys.executable, "-m", "workers.finetuning.measuring", str(folder)]
            await children.work(command, folder, "measuring.json", seen)
        measured, wanted = read_json(folder / "measured.json"), read_json(folder / "measure.json")
        found = await gate.report(measured, wanted, CheckedSupport(work.services.embedder))
        write_json(folder / "gate.json", found)
    return read_json(folder / "gate.json")


async def _keep(work: Work, found: dict[str, Any]) -> dict[str, Any]:
    """Register the version, and let it answer as the run was told to; returns what the run came to."""
    folder, wanted = work.folder, work.wanted
    about, training = read_json(folder / "run.json"), read_json(folder / "report.json")
    data, words = _data(work)
    await asyncio.to_thread(_complete, folder, training, data)
    report = {"gate": found, "training": training, "data": data, "compared_with": about["compared_with"]}
    version = await work.registry.add(
        folder / "adapter", base=about["base"], kind=wanted.kind, run_id=work.lease.id, report=report,
        card=card.write_card(about["base"], wanted.kind, training, found, words, about["compared_with"]),
        refused=found["verdict"] != "gain",
    )  # fmt: skip
    version = await _answer(work, version, found["verdict"])
    log.info("finetuning.version", version=version.name, state=version.state, verdict=found["verdict"])
    return {
        "version": version.name, "state": version.state, "share": version.share, "verdict": found["verdict"],
        "reasons": found["reasons"], "measures": found["measures"], "compared_with": about["compared_with"],
    }  # fmt: skip


async def _answer(work: Work, version: Version, verdict: str) -> Version:
    if verdict != "gain" or version.state != "candidate" or work.wanted.then == "keep":
        return version
    return await work.registry.promote(version.name, None if work.wanted.then == "promote" else work.wanted.share)


def _data(work: Work) -> tuple[dict[str, Any], str]:
    """The data card, as numbers and as words."""
    if work.wanted.kind == "lora":
        return read_if_there(work.folder / "data_card.json"), (work.folder / "DATA.md").read_text(encoding="utf-8")
    counts = read_json(work.folder / "pairs.json")
    words = (
        f"{counts['pairs']} pairs of replies to the same prompt to train on, {counts['held_out_pairs']} others to "
        f"measure with; from {counts['source']}."
    )
    return counts, words


def _complete(folder: Path, training: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """What is kept beside the weights: how the loss went, what it was trained with, how it was measured."""
    adapter = folder / "adapter"
    if not (folder / "loss.png").is_file() and training.get("losses"):
        card.draw_losses(training["losses"], training.get("accuracies") or (), folder / "loss.png")
    if (folder / "loss.png").is_file():
        shutil.copyfile(folder / "loss.png", adapter / "loss.png")
    documents = {"training.json": training, "gate.json": read_json(folder / "gate.json"), "data.json": data}
    for name, document in documents.items():
        (adapter / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
