"""What a GPU makes of Almanac: training beside Hugging Face's Trainer, what is learned, DPO, and the model server.

``python -m bench.gpu [--parts speed,quality,dpo,serving,forms] [--model FOLDER] [--out FILE] [--plot FILE]``

One GPU, about twelve minutes for all parts. Whatever a part has measured is written to FILE at once, so that a machine
that goes away takes nothing along. Where there is no GPU it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.places import DATA, HOME

PARTS = ("speed", "quality", "dpo", "serving", "forms")
DPO_TOKENS = 512  # of a pair, at most


class Measured:
    """All numbers, on disk as soon as they are known."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.all: dict[str, Any] = {}
        file.parent.mkdir(parents=True, exist_ok=True)

    def put(self, part: str) -> Callable[[Any], None]:
        def write(found: Any) -> None:
            self.all[part] = found
            self.file.write_text(json.dumps(self.all, indent=1))

        return write


def machine() -> dict[str, Any]:
    import torch
    import transformers

    card = torch.cuda.get_device_properties(0)
    return {
        "gpu": card.name, "memory_bytes": card.total_memory, "torch": torch.__version__,
        "cuda": torch.version.cuda, "transformers": transformers.__version__, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def measure(model: Path, parts: list[str], measured: Measured, rounds: int, minutes: float) -> None:
    """Each part by itself: one that fails is written down with its error, and the next begins."""
    from bench import gpu_serving, gpu_training

    def quality() -> None:
        found: dict[str, Any] = {}
        for name, report in gpu_training.quality(model, folder):
            found[name] = report
            measured.put("quality")(found)

    def dpo() -> None:
        from bench import dpo as preferences

        found = preferences.run(DATA / "hh_rlhf", minutes, 2e-4, HOME, model=model, max_length=DPO_TOKENS)
        measured.put("dpo")(found)

    work: dict[str, Callable[[], Any]] = {
        "speed": lambda: gpu_training.speed(model, folder / "trainer", rounds, measured.put("speed")),
        "serving": lambda: asyncio.run(gpu_serving.load_steps(model, measured.put("serving"))),
        "forms": lambda: asyncio.run(gpu_serving.forms(model, measured.put("forms"))),
        "quality": quality,
        "dpo": dpo,
    }
    with tempfile.TemporaryDirectory(prefix="almanac-gpu-") as name:
        folder = Path(name)
        for part in parts:
            began = time.perf_counter()
            try:
                work[part]()
            except Exception:
                measured.put(f"{part} failed")(traceback.format_exc()[-1_500:])
            measured.put(f"{part} took")(round(time.perf_counter() - began, 1))
            gpu_training.free()
            print(json.dumps({part: measured.all.get(part), **_about(measured.all, part)}), flush=True)


def _about(found: dict[str, Any], part: str) -> dict[str, Any]:
    return {key: found[key] for key in (f"{part} failed", f"{part} took") if key in found}


def report(found: dict[str, Any]) -> None:
    card = found["machine"]
    print(f"\n{card['gpu']}, torch {card['torch']}, {card['date']}\n")
    for name, one in found.get("speed", {}).items():
        rates = ", ".join(f"{rate:,.0f}" for rate in one["tokens_per_second"])
        print(f"training, {name}: {rates} tokens/s, {one['bytes'] / 1e9:.1f} GB")
    serving = found.get("serving", {})
    if "generate" in serving:
        print(f"serving, generate one by one: {serving['generate']:.0f} tokens/s")
    for way in ("graphs", "plain"):
        for some in serving.get(way, []):
            print(
                f"serving, {way}, {some['clients']} clients: {some['tokens/s']:,.0f} tokens/s, first token p50 "
                f"{some['first p50'] * 1000:.0f} ms, p95 {some['first p95'] * 1000:.0f} ms"
            )
    for some in found.get("forms", []):
        speeds = ", ".join(f"{value:,.0f} ({key[10:]})" for key, value in some.items() if key.startswith("tokens/s"))
        print(f"{some['form']}: {some['bytes'] / 1e6:.0f} MB, perplexity {some['perplexity']:.2f}, tokens/s {speeds}")
    for name, one in found.get("quality", {}).items():
        if "failed" in one:
            print(f"{name}: failed ({one['failed']})")
            continue
        held = one["held_out"]
        print(
            f"{name}: perplexity {held['perplexity_before']:.2f} -> {held['perplexity_after']:.2f} "
            f"({held['perplexity_after'] / held['perplexity_before'] - 1:+.1%}), {one['tokens']:,} tokens in "
            f"{one['steps']} steps, {one['seconds']:.1f} s, {one['peak_memory_bytes'] / 1e9:.1f} GB"
        )
    if "dpo" in found:
        one = found["dpo"]
        steps, seconds = one["training"]["steps"], one["training"]["seconds"]
        print(f"dpo: {one['train_pairs']} pairs, {steps} steps in {seconds:.0f} s")
        for row in one["measures"]:
            print(f"  {row['title']}: {row['before']} -> {row['after']}")


def main() -> int:
    import torch

    given = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    given.add_argument("--parts", default=",".join(PARTS))
    given.add_argument("--model", type=Path, help="a folder in Hugging Face's form; default: SmolLM2")
    given.add_argument("--rounds", type=int, default=2, help="of the speed's arms, in turns")
    given.add_argument("--minutes", type=float, default=1.0, help="of DPO")
    given.add_argument("--out", type=Path, default=HOME / "gpu.json")
    given.add_argument("--plot", type=Path)
    chosen = given.parse_args()
    if not torch.cuda.is_available():
        sys.stderr.write("There is no GPU on this machine, and this measures nothing else.\n")
        return 1
    import structlog

    from workers.language_model import default_folder

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    warnings.simplefilter("ignore")
    measured = Measured(chosen.out)
    measured.put("machine")(machine())
    measure(chosen.model or default_folder(HOME), chosen.parts.split(","), measured, chosen.rounds, chosen.minutes)
    report(measured.all)
    if chosen.plot:
        from bench.gpu_plot import plot

        plot(measured.all, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
