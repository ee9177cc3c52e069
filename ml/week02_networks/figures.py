"""The pictures of the week. Nothing is learned here; matplotlib is told what goes where.

Shapes in the comments: (N, D) are N images of D pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ml.lesson import COLOURS
from ml.week02_networks.comparison import Walk
from ml.week02_networks.initialisation import Signal
from ml.week02_networks.schedules import Schedule
from ml.week02_networks.tensor import Array
from ml.week02_networks.training import Epoch

MARKERS = ["o", "s", "^", "D", "v", "X", "P", "*"]
SMALLEST = 1e-12  # what the logarithmic axes of the initialisation figure show as "nothing left"


def initialisation_figure(signals: Mapping[str, Mapping[str, Signal]]) -> Figure:
    """``signals[activation][initialiser]``: mean squares through depth, forward above and backward below."""
    figure, axes = pyplot.subplots(2, len(signals), figsize=(9, 6), sharex=True, sharey=True, squeeze=False)
    for column, (activation, by_initialiser) in enumerate(signals.items()):
        for line, (name, signal) in enumerate(by_initialiser.items()):
            for row, values in enumerate((signal.forward, signal.backward)):
                shown = np.clip(values, SMALLEST, 1e12)  # (depth + 1,)
                axes[row, column].plot(shown, label=name, marker=MARKERS[line], markevery=(2 * line, 10), markersize=5)
        axes[0, column].set_title(f"{activation}: activations")
        axes[1, column].set_title(f"{activation}: gradients")
        axes[1, column].set_xlabel("layer (0 is the input)")
    for row in axes[:, 0]:
        row.set_yscale("log")
        row.set_ylabel("mean square (cut at 1e±12)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def optimisers_figure(walks: Sequence[Walk], trainings: Sequence[Walk]) -> Figure:
    """Paths down Rosenbrock's valley, the height along them, and the training loss of one network."""
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4.4))
    x, y = np.meshgrid(np.linspace(-1.6, 1.6, 161), np.linspace(-0.4, 2.0, 121))  # (121, 161) each
    height = (1 - x) ** 2 + 20 * (y - x**2) ** 2 + 1e-9  # (121, 161): `comparison.valley` on a grid, and no log of 0
    left.contourf(x, y, height, levels=np.geomspace(0.03, 300, 13), norm=LogNorm(), cmap="Greys", alpha=0.4)
    left.plot(1, 1, "k*", markersize=13, linestyle="none", zorder=10)
    left.annotate("minimum", (1, 1), (0.42, 1.1), fontsize=9)
    left.set(xlim=(-1.6, 1.6), ylim=(-0.4, 2.0), xlabel="x", ylabel="y", title="Paths down Rosenbrock's valley")
    left.grid(False)
    for line, walk in enumerate(walks):
        left.plot(*walk.path.T, marker=MARKERS[line], markevery=(line, 25), markersize=5, linewidth=1.3)
        label = f"{walk.name}, {walk.rate:.2g}"
        middle.plot(walk.losses, label=label, marker=MARKERS[line], markevery=(4 * line, 30), markersize=5)
    for line, training in enumerate(trainings):
        smooth = np.convolve(training.losses, np.ones(31) / 31, mode="valid")  # (T - 30,)
        label = f"{training.name}, {training.rate:.2g}"
        right.plot(np.arange(15, 15 + len(smooth)), smooth, label=label, marker=MARKERS[line], markevery=(8 * line, 50))
    middle.set(yscale="log", xlabel="step", ylabel="height above the minimum", title="Height along the path")
    right.set(yscale="log", xlabel="step", ylabel="training loss (nats, mean of 31 steps)")
    right.set_title("One network, 64 hidden units")
    _plain_numbers(right)
    for axis, place in ((middle, "lower left"), (right, "upper right")):
        axis.legend(title="optimiser, learning rate", fontsize=8, title_fontsize=8, loc=place)
    return figure


def _plain_numbers(axis: Axes) -> None:
    """Ticks of a logarithmic axis as 0.2, 0.3, … instead of powers of ten."""
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="y", which="minor", labelsize=7)


def schedules_figure(schedules: Mapping[str, Schedule], steps: int) -> Figure:
    """The factor of the learning rate, step by step."""
    figure, axis = pyplot.subplots(figsize=(6.5, 3.2))
    for name, schedule in schedules.items():
        axis.plot([schedule(step) for step in range(steps + 1)], label=name)
    axis.set(xlabel="step", ylabel="factor of the learning rate", title="Schedules")
    axis.legend()
    return figure


def curves_figure(histories: Mapping[str, Sequence[Epoch]]) -> Figure:
    """Loss and error rate after each epoch: training dashed, validation solid."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for line, (name, epochs) in enumerate(histories.items()):
        look = {"color": COLOURS[line], "marker": MARKERS[line], "markersize": 4}
        numbers = [epoch.number for epoch in epochs]
        left.plot(numbers, [epoch.train_loss for epoch in epochs], "--", **look)
        left.plot(numbers, [epoch.validation_loss for epoch in epochs], "-", label=name, **look)
        right.plot(numbers, [100 * (1 - epoch.train_accuracy) for epoch in epochs], "--", **look)
        right.plot(numbers, [100 * (1 - epoch.validation_accuracy) for epoch in epochs], "-", label=name, **look)
    left.set(yscale="log", xlabel="epoch", ylabel="cross-entropy (nats)")
    left.set_title("Loss: training dashed, validation solid")
    right.set(yscale="log", xlabel="epoch", ylabel="wrong (%)", title="Error rate")
    for axis in (left, right):
        _plain_numbers(axis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    return figure


def confusion_matrix(labels: Array, predictions: Array, classes: int = 10) -> Array:
    """(C, C) counts: the row is the true class, the column the predicted one."""
    counts = np.zeros((classes, classes), dtype=int)  # (C, C)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def confusion_figure(counts: Array, title: str) -> Figure:
    """The counts as numbers; shades show only the mistakes, which the diagonal would drown."""
    figure, axis = pyplot.subplots(figsize=(6, 5.2))
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)  # (C, C)
    image = axis.imshow(mistakes, cmap="Greys", vmax=max(1, 1.6 * mistakes.max()))
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            weight = "bold" if row == column else "normal"
            axis.text(column, row, counts[row, column], ha="center", va="center", fontsize=8, weight=weight)
    axis.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit", title=title)
    axis.grid(False)
    figure.colorbar(image, label="mistakes (images)", shrink=0.8)
    return figure


def mistakes_figure(images: Array, labels: Array, probabilities: Array, count: int = 24) -> Figure:
    """The wrong answers that the network was surest of: images (N, D), labels (N,), probabilities (N, C)."""
    predictions = probabilities.argmax(axis=1)  # (N,)
    sure = np.where(predictions == labels, -1.0, probabilities.max(axis=1))  # (N,)
    side = int(images.shape[1] ** 0.5)
    worst = np.argsort(-sure)[: min(count, int((sure >= 0).sum()))]  # (count,)
    figure, axes = pyplot.subplots(3, 8, figsize=(9, 4.3))
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, worst, strict=False):
        axis.imshow(images[index].reshape(side, side), cmap="Greys")
        axis.set_title(f"{labels[index]} read as {predictions[index]}\n{sure[index]:.1%}", fontsize=8, loc="center")
    figure.suptitle("The surest mistakes: true digit, answer, and its probability", fontsize=11, weight="bold")
    return figure
