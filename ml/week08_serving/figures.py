"""The week's pictures: nothing to learn here but what they show."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from ml.week08_serving.load import Load
from ml.week08_serving.roofline import Machine

MARKS = "osD^vPX*"


def distillation(losses: dict[str, list[float]], held_out: dict[str, float]) -> Figure:
    """Training curves, smoothed over ten steps, with the held-out loss in the legend."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    for name, curve in losses.items():
        smooth = np.convolve(curve, np.ones(10) / 10, mode="valid")
        axes.plot(np.arange(len(smooth)) + 10, smooth, label=f"{name}: held-out {held_out[name]:.2f}")
    axes.set(
        xlabel="training step", ylabel="cross-entropy (nats per byte)", title="The student learns more from the teacher"
    )
    axes.legend()
    return figure


def quantisation(curves: dict[str, dict[int, float]], full: float) -> Figure:
    """Held-out loss against bits, a line for each method."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for mark, (name, curve) in zip(MARKS, curves.items(), strict=False):
        axes.plot(list(curve), [max(loss - full, 1e-4) for loss in curve.values()], marker=mark, label=name)
    axes.set(yscale="log", xlabel="bits per weight (codes)", ylabel="added loss (nats per byte, floor 10⁻⁴)")
    axes.set_title("Below 5 bits the method decides")
    axes.set_xticks(sorted({bits for curve in curves.values() for bits in curve}))
    axes.legend()
    return figure


def roofline(machine: Machine, points: dict[str, list[tuple[float, float]]]) -> Figure:
    """The roof of this machine and measured layers: (intensity, operations a second) for growing batches."""
    figure, axes = pyplot.subplots(figsize=(6.6, 4.0))
    x = np.geomspace(0.25, 512, 100)
    axes.plot(x, [machine.attainable(each) / 1e9 for each in x], color="black", linestyle="-", label="roof (float32)")
    axes.axvline(machine.ridge, color="grey", linewidth=0.8, linestyle=":")
    axes.annotate(
        f"ridge {machine.ridge:.1f}", (machine.ridge, axes.get_ylim()[0]), xytext=(4, 6), textcoords="offset points"
    )
    for mark, (name, values) in zip(MARKS, points.items(), strict=False):
        axes.plot(*zip(*[(i, rate / 1e9) for i, rate in values], strict=True), marker=mark, label=name, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity (operations per byte of weights)")
    axes.set(ylabel="speed (10⁹ operations a second)", title="Decoding one request is far left of the ridge")
    axes.legend(loc="lower right")
    return figure


def occupancy(rows: dict[str, list[int]], slots: int) -> Figure:
    """How many of a batch's rows do useful work, step by step."""
    figure, axes = pyplot.subplots(figsize=(6.6, 3.2))
    for name, counts in rows.items():
        axes.step(np.arange(len(counts)) + 1, counts, where="post", label=f"{name}: {len(counts)} steps", linewidth=1.4)
    axes.set(xlabel="decoding step", ylabel="rows that write a token", ylim=(0, slots + 1.6))
    axes.set_title("A continuous batch refills; a static one runs empty")
    axes.legend(loc="upper right", ncols=2)
    return figure


def speculation(rows: list[tuple[str, int, float, float]]) -> Figure:
    """Speed-up against the number of guesses: (draft, guesses, acceptance, speed-up)."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.6, 3.3))
    for mark, name in zip(MARKS, dict.fromkeys(row[0] for row in rows), strict=False):
        mine = [row for row in rows if row[0] == name]
        left.plot([row[1] for row in mine], [row[2] for row in mine], marker=mark, label=name)
        right.plot([row[1] for row in mine], [row[3] for row in mine], marker=mark, label=name)
    right.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    left.set(
        xlabel="guesses a round",
        ylabel="share of guesses accepted",
        ylim=(0, 1),
        title="More guesses, more of them wrong",
    )
    right.set(
        xlabel="guesses a round",
        ylabel="speed against plain decoding",
        ylim=(0, None),
        title="What they earn",
    )
    left.legend()
    return figure


def load_test(loads: dict[str, list[Load]]) -> Figure:
    """Concurrency against latency, time to first token, and tokens a second."""
    figure, panels = pyplot.subplots(1, 3, figsize=(10.2, 3.5))
    for mark, (name, points) in zip(MARKS, loads.items(), strict=False):
        x = [point.concurrency for point in points]
        for axes, read in ((panels[0], Load.latency), (panels[1], Load.first)):
            (line,) = axes.plot(x, [1e3 * read(point, 50) for point in points], marker=mark, label=f"{name}, median")
            thin = {"color": line.get_color(), "linestyle": ":", "linewidth": 1, "fillstyle": "none"}
            tail = [1e3 * read(point, 95) for point in points]
            axes.plot(x, tail, marker=mark, label=f"{name}, 95th percentile", **thin)
        panels[2].plot(x, [point.throughput for point in points], marker=mark, label=name)
    titles = ("Latency of the answer (ms)", "Time to first token (ms)", "Tokens a second, all clients")
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel="concurrent clients", xscale="log", ylim=(0, None))
        axes.set_xticks(x, [str(each) for each in x])
        axes.minorticks_off()
    panels[0].legend(fontsize=8)
    panels[2].legend(fontsize=8)
    return figure
