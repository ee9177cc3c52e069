"""The week's pictures, from the points that the studies measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ml.lesson import COLOURS
from ml.week09_retrieval.compare import Point

MARKERS = {"ours": "o", "FAISS": "s"}


def recall_by_setting(points: Sequence[Point]) -> Figure:
    """Recall against the knob of IVF, HNSW and PQ: our curve and FAISS's should lie on each other."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), sharey=True)
    knobs = {"IVF": "cells probed", "HNSW": "ef, nodes kept in the search", "PQ": "bytes a vector"}
    for axis, (index, knob) in zip(axes, knobs.items(), strict=True):
        for library, width, colour in (("FAISS", 4.5, COLOURS[4]), ("ours", 1.4, COLOURS[0])):
            chosen = [point for point in points if (point.index, point.library) == (index, library)]
            settings, recalls = [point.setting for point in chosen], [point.recall for point in chosen]
            axis.plot(settings, recalls, linestyle="-", linewidth=width, color=colour, marker=MARKERS[library],
                      markersize=5, label=library)  # fmt: skip
            axis.set_xticks(settings, settings)
            axis.minorticks_off()
        axis.set_xscale("log", base=2)
        axis.set_xticks(settings, list(map(str, settings)))
        axis.set(title=index, xlabel=knob, ylim=(0, 1.04))
    axes[0].set_ylabel("recall@10 (share of the true ten)")
    axes[0].legend(loc="lower right")
    return figure


def recall_by_cost(points: Sequence[Point], flat: Mapping[str, Point]) -> Figure:
    """Recall against time (both libraries) and against distances computed (ours); a line stands for the exact index."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for place, index in enumerate(("IVF", "HNSW")):
        for library, style in (("ours", "-"), ("FAISS", "--")):
            chosen = [point for point in points if (point.index, point.library) == (index, library)]
            recalls = [point.recall for point in chosen]
            look = {"color": COLOURS[place], "marker": "os"[place], "linestyle": style, "markersize": 5}
            left.plot([point.microseconds for point in chosen], recalls, label=f"{index}, {library}", **look)
            if library == "ours":
                right.plot([point.compared for point in chosen], recalls, label=index, **look)
    for library, style in (("ours", "-"), ("FAISS", "--")):
        look = {"color": "black", "linestyle": style, "linewidth": 1}
        left.axvline(flat[library].microseconds, label=f"flat, {library}", **look)
    right.axvline(flat["ours"].compared, color="black", linestyle="-", linewidth=1, label="flat: all vectors")
    for axis in (left, right):
        axis.set(xscale="log", ylim=(0.35, 1.02))
        axis.xaxis.set_minor_formatter("")
        axis.legend(loc="lower right" if axis is left else "lower center", fontsize=8, handlelength=3.5)
    left.set(xlabel="CPU time a query (µs)", ylabel="recall@10", title="Time: compiled loops win")
    right.set(xlabel="distances computed a query", title="Work: the graph needs fewer")
    return figure


def time_by_size(points: Sequence[Point]) -> Figure:
    """Time a query against the number of vectors, at recall 0.95."""
    figure, axis = plt.subplots(figsize=(6.4, 4))
    for place, index in enumerate(("flat", "IVF", "HNSW")):
        chosen = [point for point in points if point.index == index]
        axis.plot([point.setting for point in chosen], [point.microseconds for point in chosen], marker="osD"[place],
                  markersize=5, label=index)  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="vectors in the index", ylabel="CPU time a query (µs)")
    axis.set_title("FAISS at recall 0.95: when an index pays")
    axis.legend(handlelength=4)
    return figure


def chunkers(shares: Mapping[str, Mapping[int, float]], budget: int) -> Figure:
    """Share of the answering passage that comes back, against the chunk size."""
    figure, axis = plt.subplots(figsize=(6.8, 4))
    for place, (name, by_size) in enumerate(shares.items()):
        axis.plot(list(by_size), list(by_size.values()), marker="osD^vP"[place], markersize=5, label=name)
    sizes = list(next(iter(shares.values())))
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, list(map(str, sizes)))
    axis.set(xlabel="largest chunk (characters)", ylabel=f"share of the answer in the first {budget:,} characters")
    axis.set_title("Chunkers on health agencies' pages, ranked by BM25")
    axis.legend(fontsize=8, handlelength=4)
    return figure


def retrieval(values: Mapping[str, npt.NDArray[np.float64]], shares: Sequence[float], curve: Sequence[float]) -> Figure:
    """nDCG@10 of each system with its standard error, and of the weighted fusion against the weight."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(1.2, 1))
    means = [value.mean() for value in values.values()]
    errors = [value.std(ddof=1) / np.sqrt(len(value)) for value in values.values()]
    left.barh(list(values), means, xerr=errors, color=COLOURS[5], edgecolor="black", linewidth=0.6)
    for place, mean in enumerate(means):
        left.annotate(f"{mean:.3f}", (0.02, place), va="center", fontsize=9)
    left.invert_yaxis()
    left.grid(axis="y", visible=False)
    left.set(xlabel="nDCG@10 (bars: standard error)", title="SciFact: fusion beats both")
    right.plot(shares, curve, marker="o", markersize=5, label="weighted fusion")
    right.axhline(values["RRF"].mean(), color=COLOURS[1], linestyle="--", label="RRF (no weight)")
    right.set(xlabel="BM25's share of the score", ylabel="nDCG@10", title="From vectors only to BM25 only")
    right.legend(fontsize=8)
    return figure
