"""The pictures of this week; no lesson here. Each function returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from ml.week06_lora.memory import Memory

MARKERS = "osD^vP*X"


def codebook(nf4: Sequence[float], int4: Sequence[float], weights: Sequence[float], whose: str) -> Figure:
    """Where the 16 values lie under the distribution of real weights, each divided by its block's largest."""
    figure, axes = pyplot.subplots(figsize=(6.8, 3.8))
    axes.hist(weights, bins=160, range=(-1, 1), density=True, color="#BBBBBB", label=f"weights of {whose}, by block")
    top = axes.get_ylim()[1]
    axes.vlines(nf4, 0, 0.55 * top, color="#0072B2", linestyle="-", label="NF4: quantiles of a normal")
    axes.vlines(int4, -0.14 * top, -0.03 * top, color="#D55E00", linestyle="-", label="evenly spaced")
    axes.axhline(0, color="black", linewidth=0.8, linestyle="-")
    axes.set(xlabel="weight / largest of its block", ylabel="density", title="Sixteen values, where the weights are")
    axes.legend(fontsize=8, loc="upper right")
    return figure


def forgetting(paths: Mapping[str, Sequence[tuple[float, float]]], what: str) -> Figure:
    """What is learnt against what is forgotten: each run's way from the base model."""
    figure, axes = pyplot.subplots(figsize=(6.6, 4.4))
    for (name, path), marker in zip(paths.items(), MARKERS, strict=False):
        domain, general = zip(*path, strict=True)
        axes.plot(domain, general, marker=marker, markersize=4, label=name)
    axes.scatter(*next(iter(paths.values()))[0], s=90, color="black", zorder=5, label="before")
    axes.invert_xaxis()
    axes.set(
        xlabel=f"bits per byte of the {what} (better to the right)",
        ylabel="bits per byte of news (lower: less forgotten)",
        title="Learning a domain, forgetting the rest",
    )
    axes.legend(fontsize=8)
    return figure


def ranks(
    numbers: Sequence[int], domain: Sequence[float], parameters: Sequence[int], full: float, before: float
) -> Figure:
    """Quality over rank, with the two ends for comparison."""
    figure, axes = pyplot.subplots(figsize=(6.6, 4.0))
    axes.semilogx(numbers, domain, marker="o", label="LoRA")
    for rank, value, size in zip(numbers, domain, parameters, strict=True):
        axes.annotate(f"{size / 1000:.0f}k", (rank, value), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(before, color="#888888", linestyle=":", label="before")
    axes.axhline(full, color="#D55E00", linestyle="--", label="full fine-tuning")
    axes.set_xticks(numbers, list(map(str, numbers)))
    axes.minorticks_off()
    axes.set(xlabel="rank (numbers: trained weights)", ylabel="bits per byte of held-out pages",
             title="Each doubling of the rank buys a little less")  # fmt: skip
    axes.legend()
    return figure


def spectrum(values: Mapping[str, np.ndarray]) -> Figure:
    """Singular values, each set divided by its largest."""
    figure, axes = pyplot.subplots(figsize=(6.6, 3.8))
    for name, row in values.items():
        axes.semilogy(np.arange(1, len(row) + 1), row / row[0], label=name)
    axes.set(xlabel="number of the singular value", ylabel="size, largest = 1", ylim=(1e-3, 1.3),
             title="How many directions full fine-tuning really uses")  # fmt: skip
    axes.legend(fontsize=8)
    return figure


def memory(rows: Mapping[str, Memory], model: str) -> Figure:
    """Bytes for weights, gradients and optimiser, stacked."""
    figure, axes = pyplot.subplots(figsize=(6.6, 2.9))
    left = np.zeros(len(rows))  # (methods,)
    looks = (("weights", "", "#0072B2"), ("gradients", "///", "#D55E00"), ("optimiser", "..", "#009E73"))
    for part, hatch, colour in looks:
        sizes = np.array([getattr(row, part) for row in rows.values()]) / 1e6  # (methods,)
        axes.barh(list(rows), sizes, left=left, label=part, hatch=hatch, color=colour, edgecolor="white")
        left += sizes
    for place, total in enumerate(left):
        axes.annotate(f"{total:,.0f} MB", (total, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.14)
    axes.set(xlabel="MB, activations not counted", title=f"Memory to train {model}")
    axes.legend(loc="lower right")
    return figure
