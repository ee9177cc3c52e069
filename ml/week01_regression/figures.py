"""The week's pictures. Nothing is computed here that a lesson would be about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ml.week01_regression.calibration import reliability
from ml.week01_regression.data import Floats, Integers
from ml.week01_regression.grid import ARROWS, Grid
from ml.week01_regression.ranking import roc_curve


def descent(gaps: Mapping[str, Floats], digits: Sequence[tuple[float, float, float]]) -> Figure:
    """Left: loss above its minimum, step by step. Right: error of a coefficient against the condition number."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5))
    for name, gap in gaps.items():
        left.plot(np.arange(1, len(gap) + 1), gap, label=name)
    left.set(xscale="log", yscale="log", ylim=(1e-9, None), xlabel="gradient steps", ylabel="loss above the minimum")
    left.set_title("Descent needs features on one scale")
    left.legend()
    condition, qr, normal = map(np.array, zip(*digits, strict=True))
    right.plot(condition, normal, "o-", label="normal equations")
    right.plot(condition, qr, "s--", label="QR")
    right.set(xscale="log", yscale="log", xlabel="condition number of the table", ylabel="largest error of a weight")
    right.set_title("A'A doubles the digits that are lost")
    right.legend()
    return figure


def overfitting(
    degrees: Sequence[int],
    parts: Floats,
    sizes: Sequence[int],
    curves: Mapping[str, tuple[Floats, Floats]],
    noise: float,
) -> Figure:
    """Left: bias^2, variance and error (len(degrees), 3). Right: learning curves, (train, new) by model."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5))
    for values, name, marker in zip(parts.T, ("bias²", "variance", "error on new points"), "osD", strict=True):
        left.plot(degrees, values, marker=marker, markersize=4, label=name)
    left.axhline(noise**2, color="grey", linewidth=1, linestyle=":")
    left.annotate(
        "noise", (degrees[-1], noise**2), textcoords="offset points", xytext=(-4, 3), ha="right", color="grey"
    )
    left.set(
        yscale="log",
        xlabel="degree of the polynomial",
        ylabel="mean squared error",
        title="Error = bias² + variance + noise",
    )
    left.legend()
    for (name, (train, new)), colour in zip(curves.items(), ("#0072B2", "#D55E00"), strict=True):
        right.plot(sizes, new, "o-", color=colour, markersize=4, label=f"{name}: new rows")
        right.plot(sizes, train, "o--", color=colour, markersize=4, fillstyle="none", label=f"{name}: training rows")
    right.axhline(noise, color="grey", linewidth=1, linestyle=":")
    right.set(xscale="log", yscale="log", xlabel="training rows", ylabel="root mean squared error")
    right.set_yticks([0.2, 0.4, 1, 2, 4], ["0.2", "0.4", "1", "2", "4"])
    right.yaxis.set_minor_formatter(NullFormatter())
    right.set_title("Learning curves: what more data can buy")
    right.legend(fontsize=8)
    return figure


def regularisation(
    penalties: Floats,
    weights: Floats,
    columns: Sequence[str],
    sweep: Floats,
    errors: tuple[Floats, Floats],
    best: float,
) -> Figure:
    """Left: the lasso's weights (m, d). Right: ridge's error on held-out folds (k, s) and on training rows (s,)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5))
    left.plot(penalties, weights)
    order = np.argsort(weights[-1])
    places = np.linspace(weights[-1].min(), weights[-1].max(), len(columns))  # evenly, so that names do not overlap
    for place, index in zip(places, order, strict=True):
        left.annotate(
            columns[index],
            (penalties[-1], weights[-1, index]),
            xytext=(penalties[-1] / 1.6, place),
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.5},
        )
    left.set(xscale="log", xlabel="lasso penalty λ (small = free)", ylabel="weight (points per standard deviation)")
    left.set_xlim(penalties[0], penalties[-1] / 9)
    left.set_title("A path of the lasso on diabetes")
    held_out, train = errors
    mean, spread = held_out.mean(axis=0), held_out.std(axis=0, ddof=1) / np.sqrt(len(held_out))  # (s,), (s,)
    right.errorbar(
        sweep, mean, yerr=spread, fmt="o-", markersize=4, capsize=2, label="held-out folds (± standard error)"
    )
    right.plot(sweep, train, "--", label="training rows")
    right.axvline(best, color="black", linewidth=1, linestyle=":")
    right.set(xscale="log", xlabel="ridge penalty λ", ylabel="root mean squared error (points)")
    right.set_title("65 columns: some penalty is better than none")
    right.legend(fontsize=8)
    return figure


def classifiers(truth: Integers, scored: Mapping[str, Floats], bins: int) -> Figure:
    """Left: ROC. Right: reliability. ``scored``: probabilities (n,) by model."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7))
    for (name, p), marker in zip(scored.items(), "osD", strict=True):
        false, true, _ = roc_curve(truth, p)
        left.plot(false, true, label=name)
        mean, share, _ = reliability(truth, p, bins)
        right.plot(mean, share, marker=marker, markersize=5, label=name)
    for axes, place in ((left, "lower right"), (right, "upper left")):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
        axes.legend(loc=place, fontsize=8)
    left.set(
        xlabel="false positive rate",
        ylabel="true positive rate (recall)",
        title="ROC: Platt leaves the ranking as it is",
    )
    right.set(
        xlabel="predicted probability", ylabel="share of positives", title="Reliability: on the diagonal is honest"
    )
    return figure


def clusters(centres: Floats, ends: Mapping[str, Floats]) -> Figure:
    """Left: ten centres (10, 64) as pictures. Right: inertia (starts,) at the end, by how the start was chosen."""
    figure = plt.figure(figsize=(9.5, 3.4))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    for axes, centre in zip(left.subplots(2, 5).flat, centres, strict=True):
        axes.imshow(centre.reshape(8, 8), cmap="Greys")
        axes.axis("off")
    left.suptitle("Ten centres of the digits, found without labels", fontweight="bold", fontsize=11)
    axes = right.subplots()
    bins = np.linspace(min(map(np.min, ends.values())), max(map(np.max, ends.values())), 25)
    for (name, inertia), alpha in zip(ends.items(), (0.35, 0.8), strict=True):
        axes.hist(inertia, bins, alpha=alpha, edgecolor="black", linewidth=0.6, label=name)
    axes.set(xlabel="inertia at the end (squared units of x)", ylabel="starts", title="25 blobs: where it ends")
    axes.legend()
    return figure


def reinforcement(
    regrets: Mapping[str, Floats],
    floor: float,
    grid: Grid,
    values: Floats,
    policy: Integers,
    steps: Sequence[int],
    gaps: Floats,
) -> Figure:
    """Regret (T,) by policy; the learned values (S,) and policy (S,) on the map; the distance from Q* over time.

    ``floor``: how much any policy's regret must grow, in the end, for each factor e of pulls.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.5), width_ratios=(1.2, 1.2, 1))
    for name, regret in regrets.items():
        left.plot(np.arange(1, len(regret) + 1), regret, label=name)
    last = np.array([len(regret) / 10, len(regret)])
    left.plot(
        last,
        regret[-1] + floor * np.log(last / last[1]),
        color="black",
        linewidth=1,
        linestyle="-",
        label="slope of Lai and Robbins' floor",
    )
    left.set(xscale="log", xlabel="pulls", ylabel="regret (missed wins)", title="Bandits: what learning costs")
    left.legend(fontsize=8)
    _draw_map(middle, grid, values, policy)
    right.plot(steps, gaps, "o-", markersize=4)
    right.set(xscale="log", yscale="log", xlabel="moves", ylabel="largest |Q - Q*|", title="It nears value iteration")
    right.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
    right.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _draw_map(axes: Axes, grid: Grid, values: Floats, policy: Integers) -> None:
    picture = np.full(grid.shape, np.nan)  # (rows, columns)
    for cell, value in zip(grid.cells, values, strict=True):
        picture[cell] = value
    axes.imshow(picture, cmap="Greys", vmin=-0.2, vmax=2.5)  # light greys: black text stays readable on all of them
    for state, (row, column) in enumerate(grid.cells):
        text = (
            {"G": "goal\n+1", "X": "pit\n-1"}[grid.kinds[state]]
            if grid.ends[state]
            else f"{ARROWS[policy[state]]}\n{values[state]:.2f}"
        )
        axes.text(column, row, text, ha="center", va="center", fontsize=8)
    axes.set(xticks=[], yticks=[], title="Learned policy and values")
    axes.grid(visible=False)
