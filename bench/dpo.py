"""``python -m bench.dpo --pairs DIR``: DPO on real preferences, and how well its implicit reward tells held-out pairs.

``DIR`` holds ``pairs.jsonl`` (prompt, chosen, rejected), such as part of hh_rlhf. Training sees four fifths of the
prompts, and the rest is measured with: before, the policy is its own reference and every pair is a draw, 0.5. The
general questions and texts of the gate are measured, too, and say what was forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.places import DATA

MAX_LENGTH = 128  # tokens of a pair: the shorter ones, so that minutes are enough on a CPU


async def nothing_said(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [0.0] * len(pairs)


def run(
    pairs: Path, minutes: float, learning_rate: float, home: Path, *, model: Path | None = None,
    max_length: int = MAX_LENGTH,
) -> dict[str, Any]:  # fmt: skip
    """The gate's report and what training says of itself. ``model``: default: SmolLM2, kept under ``home``."""
    from workers import language_model
    from workers.finetuning import dpo, gate, material, measuring
    from workers.finetuning.files import Progress, read_json, write_json
    from workers.finetuning.pairs import read_pairs, split, tokenized, write_pairs

    base = language_model.load(model, home=home)
    found = read_pairs(pairs / "pairs.jsonl")
    fitting = {row["id"] for row in tokenized(found, base.tokenizer, max_length)}
    train, held_out = split([pair for pair in found if pair["id"] in fitting])
    with tempfile.TemporaryDirectory(prefix="almanac-dpo-") as name:
        folder = Path(name)
        write_pairs(folder / "pairs.jsonl", train)
        job = {"model": str(base.folder), "time_limit": 60 * minutes, "max_length": max_length}
        write_json(folder / "job.json", {**job, "learning_rate": learning_rate})
        dpo.train(folder, Progress(folder / "progress.json"))
        training = read_json(folder / "report.json")
        wanted = material.wanted(base.folder, None, folder / "adapter", [], held_out)
        start = time.perf_counter()
        arms = measuring.Arms(language_model.load(model, home=home), {"before": None, "after": folder / "adapter"})
        report = asyncio.run(gate.report(measuring.measure(arms, wanted), wanted, nothing_said))
    named = ("pairs", "steps", "planned_steps", "tokens", "seconds", "trained_parameters", "parameters", "hyper")
    return {
        "train_pairs": len(train), "held_out_pairs": len(wanted["pairs"]), "verdict": report["verdict"],
        "reasons": report["reasons"], "measures": report["measures"], "measuring_seconds": time.perf_counter() - start,
        "training": {name: training[name] for name in named},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dpo", description=__doc__)
    parser.add_argument("--pairs", type=Path, default=DATA / "hh_rlhf")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--home", type=Path, default=Path(".almanac"))
    given = parser.parse_args()
    print(json.dumps(run(given.pairs, given.minutes, given.learning_rate, given.home), indent=1))


if __name__ == "__main__":
    main()
