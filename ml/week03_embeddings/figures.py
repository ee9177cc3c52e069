"""The pictures of the week. Nothing to learn here but how they are drawn; the lesson is in the other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ml.lesson import COLOURS, DASHES
from ml.week03_embeddings.projection import PCA
from ml.week03_embeddings.vectors import WordVectors

MARKERS = ["o", "^", "s", "D", "v", "P", "X", "*"]
PLACES = [(d, y) for d in (4, -4, 10, -10, 18, -18, 30, -30) for y in (-3, 3, -8, 8, 13, -14, 20, -20, 28)]  # in points


def scatter(axes: Axes, at: np.ndarray, groups: Sequence[str]) -> None:
    """Points at (n, 2); a colour and a marker for each group."""
    for number, group in enumerate(dict.fromkeys(groups)):
        inside = np.array([name == group for name in groups])  # (n,)
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "s": 26}
        axes.scatter(*at[inside].T, label=group, edgecolor="white", linewidth=0.4, zorder=3, **style)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.12, 0.08)
    axes.grid(False)


def write_labels(axes: Axes, at: np.ndarray, labels: Sequence[str], size: float = 7.5) -> None:
    """Each label beside its point, near it, where it covers no other label and the fewest points."""
    figure = axes.figure
    figure.canvas.draw()  # only now is the layout known
    renderer, pixel = figure.canvas.get_renderer(), figure.dpi / 72
    points = axes.transData.transform(at)  # (n, 2), in pixels
    taken: list[Bbox] = []
    for place, point, label in zip(at, points, labels, strict=True):
        text = axes.annotate(label, place, (0, 0), textcoords="offset points", fontsize=size, zorder=4)
        text.set_in_layout(False)  # or the layout would move what was measured
        width, height = text.get_window_extent(renderer).size
        options = []
        for x, y in PLACES:
            left = point[0] + x * pixel - (width if x < 0 else 0)
            box = Bbox.from_bounds(left, point[1] + y * pixel, width, height)
            outside = not (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1)
            cost = 10 * box.count_overlaps(taken) + 20 * outside + box.count_contains(points) + np.hypot(x, y) / 8
            options.append((cost, (x, y), box))
        _, (x, y), box = min(options, key=lambda option: option[0])
        text.set_position((x, y))
        text.set_ha("right" if x < 0 else "left")
        taken.append(box)


def embedding_map(vectors: WordVectors, topics: Mapping[str, Sequence[str]], title: str, seed: int = 0) -> Figure:
    """The topic words on two maps: PCA beside t-SNE, both of unit vectors."""
    from sklearn.manifold import TSNE

    known = [(word, topic) for topic, members in topics.items() for word in members if word in vectors]
    labels, groups = [word for word, _ in known], [topic for _, topic in known]
    rows = vectors.unit[vectors.ids(labels)]  # (n, D)
    pca = PCA.fit(rows)
    flat = TSNE(perplexity=8, init="pca", random_state=seed).fit_transform(rows)  # (n, 2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6))
    for axes, at in ((left, pca.transform(rows)), (right, flat)):
        scatter(axes, at, groups)
    left.set(title="PCA: a flat shadow", xlabel=f"1st component ({pca.share[0]:.0%} of variance)")
    left.set_ylabel(f"2nd component ({pca.share[1]:.0%} of variance)")
    right.set(title="t-SNE: neighbours kept, distances not", xlabel="no unit", ylabel="no unit")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    for axes, at in ((left, pca.transform(rows)), (right, flat)):
        write_labels(axes, at, labels)
    return figure


def agreement_table(names: Sequence[str], matrix: np.ndarray, title: str) -> Figure:
    """Rank correlations (n, n) between models as a shaded table."""
    figure, axes = plt.subplots(figsize=(7.4, 5.8))
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap="Greys")
    for row, column in np.ndindex(*matrix.shape):
        value = matrix[row, column]
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(False)
    axes.set_title(title)
    figure.colorbar(image, label="Spearman's rank correlation of cosines")
    return figure


def bars(table: Mapping[str, Sequence[float]], series: Sequence[str], title: str, axis: str) -> Figure:
    """Horizontal bars: a group a row of ``table``, a bar for each of ``series``, its value written at its end."""
    figure, axes = plt.subplots(figsize=(8.6, 1.4 + 0.17 * len(table) * len(series)))
    height = 0.8 / len(series)
    for number, (name, hatch) in enumerate(zip(series, ["", "///", "...", "xxx"], strict=False)):
        at = np.arange(len(table)) + (number - (len(series) - 1) / 2) * height
        values = [row[number] for row in table.values()]
        drawn = axes.barh(at, values, 0.9 * height, label=name, color=COLOURS[number], hatch=hatch, edgecolor="white")
        axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=7)
    axes.set_yticks(range(len(table)), table)
    axes.invert_yaxis()
    axes.set_axisbelow(True)
    axes.grid(axis="y", visible=False)
    axes.set(title=title, xlabel=axis)
    figure.legend(loc="outside lower right", ncols=len(series))
    return figure


def sense_maps(
    layers: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]], parted: Mapping[str, float]
) -> Figure:
    """A panel a word: its contextual vectors (S, D) on their two principal components, marked by sense."""
    figure, panels = plt.subplots(2, 2, figsize=(10, 7.6))
    for axes, (word, rows) in zip(panels.flat, layers.items(), strict=True):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # (S, D)
        pca = PCA.fit(unit)
        scatter(axes, pca.transform(unit), labels[word])
        axes.set(title=f"“{word}”: silhouette {parted[word]:.2f} (static: 0)")
        axes.set(xlabel=f"1st component ({pca.share[0]:.0%})", ylabel=f"2nd component ({pca.share[1]:.0%})")
        axes.legend(loc="best", frameon=True)
    return figure


def layer_curves(silhouettes: Mapping[str, Sequence[float]]) -> Figure:
    """How well senses part after each layer, a line a word."""
    figure, axes = plt.subplots(figsize=(7.6, 4.4))
    for number, (word, values) in enumerate(silhouettes.items()):
        axes.plot(values, label=word, marker=MARKERS[number], color=COLOURS[number], linestyle=DASHES[number])
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
    axes.set(title="Context parts the senses: layer 0 has seen none", xlabel="layer (0: table row + position)")
    axes.set(ylabel="silhouette of senses (cosine)")
    axes.legend()
    return figure
