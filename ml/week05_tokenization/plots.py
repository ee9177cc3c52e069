"""The pictures of this week; no lesson here. Each function returns a matplotlib figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from ml.week05_tokenization.measure import rank_frequency

HATCHES = ["", "///", "..", "xx"]


def zipf(rows: Mapping[str, Sequence[Hashable]]) -> Figure:
    """Rank against frequency of each row of tokens (or words), and Zipf's line."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    for name, row in rows.items():
        axes.loglog(*rank_frequency(row), label=name)
    ranks = np.array([1, 10_000])  # (2,)
    axes.loglog(ranks, 0.1 / ranks, color="#888888", linewidth=1, linestyle="-", label="0.1 / rank (Zipf's law)")
    axes.set(xlabel="rank of the token", ylabel="share of all tokens", title="Tokens and words of 300 news articles")
    axes.legend()
    return figure


def lengths(rows: Mapping[str, Sequence[int]]) -> Figure:
    """How long the tokens of a text are: ``rows`` holds each token's length in bytes."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    longest = 14
    for name, row in rows.items():
        counts = Counter(min(length, longest) for length in row)
        share = [100 * counts[length] / len(row) for length in range(1, longest + 1)]
        axes.plot(range(1, longest + 1), share, marker="o", markersize=4, label=f"{name} (mean {np.mean(row):.1f})")
    axes.set(
        xlabel=f"bytes in the token ({longest} = {longest} or more)", ylabel="% of the tokens of 30 news articles",
        title="How long the tokens of unseen text are",
    )  # fmt: skip
    axes.legend()
    return figure


def grouped(values: Mapping[str, Mapping[str, float]], label: str, title: str, mark: float | None = None) -> Figure:
    """Bars side by side: ``values[tokenizer][text]``; ``mark`` draws a line across."""
    figure, axes = pyplot.subplots(figsize=(7.2, 0.42 * len(next(iter(values.values()))) * 1.35 + 1.2))
    height = 0.8 / len(values)
    for place, (name, row) in enumerate(values.items()):
        where = np.arange(len(row)) + (place - (len(values) - 1) / 2) * height
        bars = axes.barh(where, list(row.values()), height, label=name, hatch=HATCHES[place], edgecolor="white")
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(row)), list(row))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=1)
    axes.set(xlabel=label, title=title)
    axes.legend(loc="lower right", fontsize=8)
    axes.margins(x=0.08)
    return figure


def yardsticks(sizes: Sequence[int], perplexities: Sequence[float], bits: Sequence[float]) -> Figure:
    """Perplexity per token and bits per byte of one model class over the size of the vocabulary."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.4, 3.6))
    left.loglog(sizes, perplexities, marker="o")
    left.set(xlabel="tokens in the vocabulary", ylabel="perplexity per token", title="Perplexity only rises …")
    right.semilogx(sizes, bits, marker="o", color="#D55E00")
    best = int(np.argmin(bits))
    right.annotate(
        f"best: {sizes[best]:,}", (sizes[best], bits[best]), (0, 14), textcoords="offset points", ha="center"
    )
    right.set(xlabel="tokens in the vocabulary", ylabel="bits per byte", title="… bits per byte have a best size")
    for axes in (left, right):
        axes.set_xticks([256, 1000, 4000], ["256", "1,000", "4,000"])
        axes.minorticks_off()
    left.set_yticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    return figure


def speed(seconds: Mapping[str, Mapping[int, float]]) -> Figure:
    """Training time over the size of the vocabulary, one line a trainer."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for name, row in seconds.items():
        axes.loglog(list(row), list(row.values()), marker="o", label=name)
    axes.set(
        xlabel="tokens in the vocabulary", ylabel="CPU seconds, one core",
        title="Counting again against keeping the counts true (360 kB)",
    )  # fmt: skip
    sizes = sorted({size for row in seconds.values() for size in row})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.legend()
    return figure
