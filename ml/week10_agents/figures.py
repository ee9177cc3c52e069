"""The week's pictures, from what the studies counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.lesson import COLOURS
from ml.week10_agents.bfcl_study import Score
from ml.week10_agents.record import Trace
from ml.week10_agents.tasks import Done, totals


def timeline(traces: Sequence[Trace], title: str) -> Figure:
    """Requests to the model and tool calls over time, one panel for each run."""
    rows = [_rows(trace) for trace in traces]
    heights = [max(map(len, lanes)) if lanes else 1 for lanes in ([r] for r in rows)]
    figure, panels = plt.subplots(
        len(traces),
        1,
        figsize=(8.4, 1.1 + 0.17 * sum(heights) + 0.35 * len(traces)),
        sharex=True,
        height_ratios=heights,
    )
    for axes, trace, lanes in zip(np.atleast_1d(panels), traces, rows, strict=True):
        for place, (label, started, seconds, colour) in enumerate(lanes):
            axes.barh(
                place, seconds * 1000, left=started * 1000, color=colour, height=0.8, edgecolor="black", linewidth=0.4
            )
            axes.text((started + seconds) * 1000 + 3, place, label, va="center", fontsize=7)
        late = ", and no step is left for the answer" if trace.reason == "steps" else ""
        axes.invert_yaxis()
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{trace.architecture}: {len(trace.asked)} requests, {len(trace.ran)} calls{late}", fontsize=9)
    last = np.atleast_1d(panels)[-1]
    last.set_xlabel("time (ms)")
    last.set_xlim(right=last.get_xlim()[1] * 1.12)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _rows(trace: Trace) -> list[tuple[str, float, float, str]]:
    """(label, start, seconds, colour) of all that took time, in order of its start."""
    asked = [("model", one.started, one.seconds, COLOURS[0]) for one in trace.asked]
    called = [
        (one.name if one.outcome == "ok" else f"{one.name}, {one.outcome}", one.started, one.seconds, COLOURS[4])
        for one in trace.called
    ]
    return sorted([*asked, *called], key=lambda row: row[1])


def architectures(done: Mapping[str, Sequence[Done]]) -> Figure:
    """Requests, calls, tokens and time of each architecture over all tasks."""
    figure, panels = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True)
    rows = {name: totals(one) for name, one in done.items()}
    labels = [f"{name}\n{row[0]} of {len(done[name])} right" for name, row in rows.items()]
    titles = ("requests to the model", "calls that reached a tool", "tokens", "seconds")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True), start=1):
        values = [row[place] for row in rows.values()]
        axes.barh(labels, values, color=COLOURS[5], edgecolor="black", linewidth=0.6, height=0.6)
        for height, value in enumerate(values):
            axes.text(
                0.03 * max(values), height, f"{value:,.1f}" if isinstance(value, float) else f"{value:,}", va="center"
            )
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(title)
        axes.locator_params(axis="x", nbins=4)
    panels[0].invert_yaxis()
    figure.suptitle("The same knowledge, three architectures, 13 tasks", fontsize=10, x=0.01, ha="left")
    return figure


def bfcl(systems: Mapping[str, Mapping[str, Score]]) -> Figure:
    """The share of right answers by category; behind it, paler, the share with the right functions."""
    figure, axes = plt.subplots(figsize=(8.6, 3.8))
    categories = list(next(iter(systems.values())))
    width = 0.8 / len(systems)
    for place, (name, by_category) in enumerate(systems.items()):
        found = [by_category[category] for category in categories]
        where = np.arange(len(categories)) + (place - (len(systems) - 1) / 2) * width
        named = [score.named / max(score.cases, 1) for score in found]
        axes.bar(where, named, width * 0.92, color=COLOURS[place], alpha=0.25)
        axes.bar(where, [score.rate for score in found], width * 0.92, color=COLOURS[place], label=name,
                 hatch=("", "//", "..")[place], edgecolor="white")  # fmt: skip
        for x, score in zip(where, found, strict=True):
            axes.text(
                x, score.named / max(score.cases, 1) + 0.01, f"{score.right}/{score.cases}", ha="center", fontsize=6.5
            )
    axes.set_xticks(range(len(categories)), [category.replace("_", "\n") for category in categories])
    axes.set(
        ylabel="share of the cases",
        ylim=(0, 1.25),
        title="BFCL: right calls (pale: only the functions' names are right)",
    )
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper right", ncols=len(systems))
    return figure


def validity(
    counts: Mapping[str, Sequence[int]], cases: int, sizes: Sequence[tuple[str, int]], vocabulary: int
) -> Figure:
    """Left: parses, valid, right, with the mask and without. Right: how many tokens the mask left at each choice."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.35))
    for place, ((name, values), total) in enumerate(zip(counts.items(), cases, strict=True)):
        where = np.arange(len(values)) + (place - 0.5) * 0.38
        left.bar(where, np.array(values) / total, 0.36, label=name, color=COLOURS[place], hatch=("", "//")[place],
                 edgecolor="white")  # fmt: skip
        for x, value in zip(where, values, strict=True):
            left.text(x, value / total + 0.01, f"{value}/{total}", ha="center", fontsize=8)
    left.set_xticks(range(3), ["is JSON", "fits the\nschema", "is the\nright call"])
    left.set(ylim=(0, 1.3), ylabel="share of the cases", title="SmolLM2-135M on BFCL")
    left.grid(axis="x", visible=False)
    left.legend(loc="upper right", fontsize=8)
    _mask_sizes(right, sizes, vocabulary)
    return figure


def _mask_sizes(axes: Axes, sizes: Sequence[tuple[str, int]], vocabulary: int) -> None:
    axes.bar(range(len(sizes)), [count for _, count in sizes], color=COLOURS[2], edgecolor="black", linewidth=0.4)
    axes.axhline(vocabulary, color="black", linestyle="--", linewidth=1)
    axes.text(len(sizes) - 0.5, vocabulary * 1.2, f"all {vocabulary:,}", ha="right", fontsize=8)
    axes.set_xticks(range(len(sizes)), [token for token, _ in sizes], rotation=60, ha="right", fontsize=7)
    axes.set(
        yscale="log", ylim=(0.7, vocabulary * 4), ylabel="tokens allowed", title="What the mask leaves to choose from"
    )
    axes.set_xlabel("token that was chosen")
    axes.grid(axis="x", visible=False)
