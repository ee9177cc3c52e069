"""The model server's engine: against transformers' ``generate``, under load, with shared prefixes, while adapters are
swapped, and in each form of the weights.

``python -m bench.serving [--quick] [--out FILE]`` writes the numbers as JSON and draws ``docs/serving.png``. The model
is SmolLM2-135M; the texts are passages of ``mtrag_cloud``. Takes about 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from assistant.telemetry import configure_logs
from bench import serving_measure as measures
from bench.places import HOME, ROOT
from workers.language_model import load
from workers.serving.quantising import natural_dtype

PLOT = ROOT / "docs" / "serving.png"


async def measure(quick: bool, done: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """``done`` is called after each part with what there is so far."""
    dtype = natural_dtype()
    tokens = 24 if quick else 64
    texts = measures.passages(220)
    model = load()
    held_out = model.tokenizer("\n\n".join(texts[120:220]), verbose=False)["input_ids"][: 512 if quick else 4096]
    system = "You answer questions about our cloud from these passages.\n\n" + "\n\n".join(texts[100:104])
    kinds = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": kinds[dtype], "throughput": {}}
    for kind in dict.fromkeys((torch.float32, dtype)):
        result["throughput"][kinds[kind]] = await measures.throughput(kind, tokens)
        done(result)
    result["load"] = await measures.under_load(dtype, texts[: 25 if quick else 80], tokens // 2)
    done(result)
    result["prefixes"] = await measures.prefixes(dtype, system, tokens // 4)
    done(result)
    with tempfile.TemporaryDirectory() as folder:
        adapters = [measures.adapter(load(), Path(folder) / str(seed), seed) for seed in (1, 2)]
        result["swaps"] = await measures.swaps(dtype, adapters, tokens // 2, 4 if quick else 10)
    done(result)
    result["forms"] = list(await measures.forms(held_out, tokens))
    done(result)
    return result


def report(result: dict[str, Any]) -> None:
    for name, some in result["throughput"].items():
        print(
            f"serving, {name}: 8 at once {statistics.median(some['engine']):.0f} tokens/s, generate one by one "
            f"{statistics.median(some['generate']):.1f}: {some['ratio']:.1f} times (lowest block "
            f"{some['lowest ratio']:.1f}); the engine one by one {some['engine, one at a time']:.0f}; "
            f"same texts {some['same texts']}"
        )
    for some in result["load"]:
        print(
            f"serving, {some['clients']:.0f} clients, {some['prompt tokens']:.0f} tokens of prompt: first token p50 "
            f"{some['first p50'] * 1000:.0f} ms, p95 {some['first p95'] * 1000:.0f} ms; "
            f"{some['between tokens p50'] * 1000:.0f} ms a token; {some['tokens/s']:.0f} tokens/s"
        )
    some = result["prefixes"]
    first = {arm: f"{seconds * 1000:.0f}" for arm, seconds in some["first token"].items()}
    print(
        f"serving, 8 with a shared prefix ({some['prompt tokens']:.0f} tokens, {some['cached share']:.0%} cached): "
        f"first token {first['without']} ms without, {first['with']} ms with the cache; all "
        f"{some['seconds']['without']:.2f} and {some['seconds']['with']:.2f} s; same texts {some['same texts']}"
    )
    some = result["swaps"]
    print(
        f"serving, {some['swaps']} swaps of an adapter under load: {some['answered']} requests answered, "
        f"{some['dropped']} dropped; {some['seconds to swap'] * 1000:.0f} ms a swap"
    )
    for some in result["forms"]:
        print(
            f"serving, {some['form']}: {some['bytes'] / 1e6:.0f} MB, perplexity {some['perplexity']:.2f}, tokens/s "
            f"{max(some['tokens/s, 1']):.0f} alone, {max(some['tokens/s, 8']):.0f} with 8"
        )


def plot(result: dict[str, Any], path: Path = PLOT) -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    speed, first, form = figure.subplots(1, 3)
    bars = {}
    for name, some in result["throughput"].items():
        bars[f"generate\n{name}"] = (statistics.median(some["generate"]), "#999999")
        bars[f"engine\n{name}"] = (statistics.median(some["engine"]), "#31579c")
    drawn = speed.bar(list(bars), [value for value, _ in bars.values()], color=[colour for _, colour in bars.values()])
    speed.bar_label(drawn, fmt="%.0f", fontsize=8)
    speed.set(title="8 requests", ylabel="tokens a second")
    speed.tick_params(axis="x", labelsize=8)
    clients = [str(int(some["clients"])) for some in result["load"]]
    for name, colour in (("first p95", "#8c2f39"), ("first p50", "#2e7d6b")):
        values = [some[name] * 1000 for some in result["load"]]
        first.plot(clients, values, marker="o", color=colour, label=name.removeprefix("first "))
    first.set(title="To the first token, 8 slots", xlabel="clients", ylabel="ms", ylim=(0, None))
    first.legend(frameon=False)
    for some, colour in zip(result["forms"], ("#b8860b", "#31579c", "#2e7d6b"), strict=True):
        place = (some["bytes"] / 1e6, max(some["tokens/s, 8"]))
        form.scatter(*place, color=colour)
        text = f"{some['form']}\nperplexity {some['perplexity']:.2f}"
        form.annotate(text, place, xytext=(0, 7), textcoords="offset points", fontsize=8, ha="center")
    most = max(max(some["tokens/s, 8"]) for some in result["forms"])
    widest = max(some["bytes"] for some in result["forms"]) / 1e6
    form.set(title="Forms of the weights", xlabel="MB in memory", ylabel="tokens a second, 8 at once")
    form.set(xlim=(0, widest * 1.25), ylim=(0, most * 1.3))
    for axes in (speed, first, form):
        axes.grid(True, axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter texts")
    parser.add_argument("--out", type=Path, default=HOME / "serving.json")
    parser.add_argument("--plot", type=Path, default=PLOT)
    arguments = parser.parse_args()
    configure_logs("WARNING", "console")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = asyncio.run(
        measure(arguments.quick, lambda some: arguments.out.write_text(json.dumps(some, indent=1)) and None)
    )
    report(result)
    plot(result, arguments.plot)


if __name__ == "__main__":
    main()
