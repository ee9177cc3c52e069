"""``bench.gpu``'s numbers as a picture; parts that were not measured are left out of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS, PEER, OTHER = "#2f6f4f", "#b9b9b9", "#b5542f"


def plot(found: dict[str, Any], path: Path) -> None:
    drawn = [
        (part, draw)
        for part, draw in (("speed", _speed), ("quality", _quality), ("serving", _serving))
        if part in found
    ]
    figure = Figure(figsize=(4.6 * len(drawn), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for (part, draw), axis in zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True):
        draw(axis, found[part])
        axis.grid(color="#e4e4e4", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    card = found["machine"]
    figure.suptitle(
        f"{card['gpu']}, torch {card['torch'].partition('+')[0]}, {card['date']}", fontsize=9, x=0.99, ha="right"
    )
    figure.savefig(path, dpi=110)


def _speed(axis: Axes, found: dict[str, Any]) -> None:
    for name, one in found.items():
        colour = OURS if name == "ours" else "#9db8a8" if name.startswith("ours") else PEER
        bar = axis.barh(_folded(name), max(one["tokens_per_second"], default=0.0), color=colour)
        axis.bar_label(bar, labels=[f"{max(one['tokens_per_second'], default=0.0):,.0f}"], padding=4, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.tick_params(axis="y", labelsize=8)
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1_000:.0f}k")
    axis.set_title("Training, real tokens a second", loc="left", fontsize=11)


def _folded(name: str) -> str:
    """A long name in two lines."""
    if len(name) < 24:
        return name
    cut = name.rfind(", ", 0, 28) + 1 or name.rfind(" ", 0, 28)
    return f"{name[:cut].strip()}\n{name[cut:].strip()}"


def _quality(axis: Axes, found: dict[str, Any]) -> None:
    for name, one in found.items():
        if "failed" in one:
            continue
        steps, losses = zip(*one["held_out_losses"], strict=True)
        tokens = [step / one["steps"] * one["tokens"] for step in steps]
        colour = OTHER if name.startswith("full") else "#31579c" if name.startswith("4bit") else OURS
        label = f"{name}, {one['seconds']:.0f} s, {one['peak_memory_bytes'] / 1e9:.1f} GB"
        style = "-" if "1M" in name or "4M" in name else "--"
        axis.plot(tokens, [math.exp(loss) for loss in losses], style, marker="o", color=colour, label=label)
    axis.set_xscale("symlog", linthresh=25_000)
    axis.set_xticks([0, 25_000, 100_000, 1_000_000], ["0", "25k", "100k", "1M"])
    axis.minorticks_off()
    axis.set_xlabel("tokens trained on")
    axis.set_title("Perplexity of documents held out", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)


def _serving(axis: Axes, found: dict[str, Any]) -> None:
    for way, colour, label in (("graphs", OURS, "engine"), ("plain", "#9db8a8", "engine without graphs")):
        rows = found.get(way, [])
        axis.plot([row["clients"] for row in rows], [row["tokens/s"] for row in rows], "o-", color=colour, label=label)
    axis.axhline(found["generate"], color=PEER, label="generate, one by one")
    axis.set_xscale("log", base=2)
    clients = [row["clients"] for row in found.get("graphs", [])]
    axis.set_xticks(clients, [str(count) for count in clients])
    axis.set_ylim(0, None)
    axis.set_xlabel("clients")
    axis.set_title("Serving, tokens a second", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
