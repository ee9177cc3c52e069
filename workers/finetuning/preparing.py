"""Everything a run needs before it trains, as files in its folder: what is wanted, data, the version in force."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assistant.database import finetuning
from assistant.errors import AlmanacError
from assistant.models.registry import Registry
from assistant.services import Services
from assistant.settings import Settings
from workers import language_model
from workers.finetuning import data, material, pairs
from workers.finetuning.files import read_json, write_json
from workers.finetuning.job import Job

FEWEST_PAIRS = 8
SERVED = "served"  # where versions are fetched to, in the home folder
HELD_OUT_TEXTS = 200_000  # tokens of documents to measure with, of a run that trains on none


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run was asked for. ``minutes`` of training at most; ``share``: of the conversations, for ``canary``.

    ``pairs`` and ``questions`` are files on the worker's machine; without the first, DPO learns from votes.
    """

    kind: Literal["lora", "dpo"] = "lora"
    then: Literal["canary", "promote", "keep"] = "canary"
    share: float = 0.1
    minutes: float | None = None
    estimate: bool = False
    chosen: str = "documents"
    pairs: str | None = None
    questions: str | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: Mapping[str, Any], settings: Settings) -> Wanted:
        """The arguments of a run, which hold nothing that is not named above."""
        return cls(**{"chosen": settings.finetune_on, **arguments})


def command(wanted: Wanted, folder: Path) -> list[str]:
    """What trains; looking for GPUs takes seconds."""
    from workers.finetuning import process

    if wanted.kind == "dpo":
        return [sys.executable, "-m", "workers.finetuning.dpo", str(folder)]
    return process.command(folder)


async def prepare(services: Services, registry: Registry, wanted: Wanted, folder: Path) -> None:
    """Write the data, ``run.json`` and, last, ``job.json``. Raises AlmanacError where nothing can be learned from."""
    settings = services.settings
    model = await asyncio.to_thread(language_model.folder_of, settings)
    base = language_model.base_name(settings)
    served = await registry.served(base)
    in_force = next((version for version in served if version.state == "promoted"), None)
    before = None if in_force is None else await registry.fetch(in_force, settings.home.resolve() / SERVED)
    write_json(
        folder / "run.json",
        {
            "model": str(model), "base": base, "before": None if before is None else str(before),
            "compared_with": None if in_force is None else in_force.name,
        },
    )  # fmt: skip
    if wanted.kind == "dpo":
        await _pairs(services, wanted, folder)
    await _rows(services, wanted, folder)
    limit = None if wanted.minutes is None else 60 * wanted.minutes
    if wanted.kind == "dpo":
        start = None if before is None else str(before)
        write_json(
            folder / "job.json",
            {"model": str(model), "base": base, "start": start, "time_limit": limit, **wanted.hyper},
        )
    else:
        job = Job(
            model=str(model), base=base, train="train.jsonl", held_out="held_out.jsonl", time_limit=limit,
            **{**as_served(settings), **wanted.hyper},
        )  # fmt: skip
        job.write(folder)


def as_served(settings: Settings) -> dict[str, Any]:
    """Over a base that is served in 4 bits it is trained in 4 bits: an adapter meets the weights it was made for."""
    return {"precision": "4bit"} if settings.serve_quantisation == "4bit" else {}


async def _rows(services: Services, wanted: Wanted, folder: Path) -> None:
    """Train and held-out rows. Where none of them is a question with its answer, voted ones are asked beside them."""
    most = HELD_OUT_TEXTS if wanted.kind == "dpo" else None
    collected = await data.collect(services.sessions, wanted.chosen, max_tokens=most)
    await asyncio.to_thread(data.write, collected, folder)
    rows = material.read_rows(folder / "held_out.jsonl")
    if wanted.questions is not None:
        asked = material.read_questions(Path(wanted.questions), data.messages)
    elif any(row["kind"] == "answer" for row in rows):
        asked = []
    else:
        asked = await _voted(services, folder)
    material.write_rows(folder / "questions.jsonl", asked)


async def _voted(services: Services, folder: Path) -> list[dict[str, Any]]:
    """Up-voted answers of a run that was not trained on any, as questions."""
    aside = folder / "answers"
    aside.mkdir(exist_ok=True)
    try:
        await asyncio.to_thread(data.write, await data.collect(services.sessions, "answers"), aside)
        return [row for name in ("train", "held_out") for row in material.read_rows(aside / f"{name}.jsonl")]
    except data.NothingToLearn:
        return []
    finally:
        await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)


async def _pairs(services: Services, wanted: Wanted, folder: Path) -> None:
    if wanted.pairs is not None:
        found = await asyncio.to_thread(pairs.read_pairs, Path(wanted.pairs))
    else:
        async with services.sessions() as session:
            voted = await finetuning.voted_answers(session)
        found = pairs.from_votes(voted, data.messages)
    train, held_out = pairs.split(found)
    if len(train) < FEWEST_PAIRS:
        where = "in the file" if wanted.pairs else "of up-voted and down-voted answers to the same question"
        raise AlmanacError(f"There are {len(train)} pairs {where}; DPO needs at least {FEWEST_PAIRS} to learn from.")
    pairs.write_pairs(folder / "pairs.jsonl", train)
    pairs.write_pairs(folder / "held_out_pairs.jsonl", held_out)
    source = Path(wanted.pairs).name if wanted.pairs else "votes on answers"
    write_json(folder / "pairs.json", {"pairs": len(train), "held_out_pairs": len(held_out), "source": source})


def write_measure(wanted: Wanted, folder: Path) -> None:
    """``measure.json``, of what was held out."""
    about = read_json(folder / "run.json")
    rows = material.read_rows(folder / "held_out.jsonl") + material.read_rows(folder / "questions.jsonl")
    held_out = pairs.read_pairs(folder / "held_out_pairs.jsonl") if wanted.kind == "dpo" else []
    before = None if about["before"] is None else Path(about["before"])
    document = material.wanted(Path(about["model"]), before, folder / "adapter", rows, held_out)
    if "max_length" in wanted.hyper:
        document["pair_tokens"] = wanted.hyper["max_length"]  # as in training
    write_json(folder / "measure.json", document)
