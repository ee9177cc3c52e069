"""The figures of the week; each function takes numbers and returns a figure. Nothing to learn here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ml.week04_transformers.positions import frequencies, sinusoidal


def show_weights(axes: Axes, weights: Tensor, keys: Sequence[str], queries: Sequence[str], title: str) -> None:
    """A heat map of weights (T, S) with a token at every row and column."""
    axes.imshow(weights, aspect="auto", vmin=0, cmap="Greys")
    axes.set_xticks(range(len(keys)), keys, rotation=90 if max(map(len, keys)) > 1 else 0, fontsize=8)
    axes.set_yticks(range(len(queries)), queries, fontsize=8)
    axes.set_title(title)
    axes.grid(False)


def positions_figure() -> Figure:
    """Sinusoidal positions as a map, and what rotary positions do to a dot product as the distance grows."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.0))
    image = left.imshow(sinusoidal(torch.arange(64)[None], 64)[0], aspect="auto", cmap="Greys")
    left.set(xlabel="dimension", ylabel="position (tokens)", title="Sinusoidal: a row for each position")
    left.grid(False)
    figure.colorbar(image, ax=left, label="value added")
    distance = torch.arange(0, 257)
    for base in (100.0, 10_000.0, 100_000.0):
        # query = key = (1, 1, …): the product at distance d is Σᵢ 2 cos(d ωᵢ), here per dimension
        product = torch.cos(distance[:, None] * frequencies(64, base)).mean(dim=-1)
        right.plot(distance, product, linewidth=1.2, label=f"base {base:,.0f}")
    right.set(xlabel="distance (tokens)", ylabel="q · k / D, for q = k", title="Rotary: products fade with distance")
    right.legend()
    return figure


def training_figure(losses: list[float], validation: dict[int, float], baselines: dict[str, float]) -> Figure:
    """Training loss and validation by step, in bits per character, with the n-gram baselines as lines."""
    figure, axes = pyplot.subplots(figsize=(7.5, 4.2))
    bits = np.array(losses) / np.log(2)
    window = max(1, len(bits) // 60)
    smooth = np.convolve(bits, np.ones(window) / window, "valid")
    axes.plot(np.arange(len(smooth)) + window, smooth, label="training batches (moving mean)")
    axes.plot(list(validation), list(validation.values()), "o-", color="#000000", label="validation")
    for (name, value), shade in zip(baselines.items(), ("0.65", "0.45", "0.25"), strict=False):
        axes.axhline(value, color=shade, linewidth=1, linestyle=":")
        axes.annotate(name, (0, value), xytext=(4, 2), textcoords="offset points", fontsize=8, color=shade)
    axes.set(xlabel="step", ylabel="bits per character", title="A small decoder learns characters; dotted: counting")
    axes.set_ylim(min(*smooth, *baselines.values()) - 0.2, 5)
    axes.legend(loc="upper right")
    return figure


def cross_attention_figure(weights: Tensor, source: Sequence[str], target: Sequence[str]) -> Figure:
    """Cross-attention (H, T, S) of one date, a panel a head; a row is what was looked at to write that character."""
    figure, panels = pyplot.subplots(1, len(weights), figsize=(3.0 * len(weights), 3.6), sharey=True)
    for head, (axes, map_) in enumerate(zip(panels, weights, strict=True), 1):
        show_weights(axes, map_, [{" ": "␣"}.get(letter, letter) for letter in source], target, f"head {head}")
        axes.set_xlabel("source character")
    panels[0].set_ylabel("character being written")
    figure.suptitle("Cross-attention: where the decoder looks while it writes each character", fontweight="bold")
    return figure


def influence_figure(maps: dict[str, tuple[Tensor, Sequence[str]]]) -> Figure:
    """Influence (T, T) of each token on each other's vector, one panel a model."""
    figure, panels = pyplot.subplots(1, len(maps), figsize=(4.9 * len(maps), 4.4))
    for axes, (title, (values, tokens)) in zip(panels, maps.items(), strict=True):
        off_diagonal = values.clone().fill_diagonal_(float("nan"))
        show_weights(axes, off_diagonal, tokens, tokens, title)
        axes.set(xlabel="replaced token", ylabel="token whose vector moves")
    figure.suptitle("Darker: the vector moves further", fontsize=10)
    return figure


def cache_figure(lengths: Sequence[int], cached: Sequence[float], uncached: Sequence[float]) -> Figure:
    """Seconds for one more token, by the length of the text so far."""
    figure, axes = pyplot.subplots(figsize=(6.5, 3.6))
    axes.plot(lengths, [1000 * value for value in uncached], marker="o", label="whole text again")
    axes.plot(lengths, [1000 * value for value in cached], marker="s", label="with the KV cache")
    axes.set(xlabel="text so far (tokens)", ylabel="time for one more token (ms)", xscale="log", yscale="log")
    axes.set_xticks(lengths, map(str, lengths))
    axes.set_yticks(ticks := [20, 50, 100, 200, 500, 1000, 2000], map(str, ticks))
    axes.minorticks_off()
    axes.set_title("SmolLM2: with the cache a token's cost is nearly flat")
    axes.legend()
    return figure


def induction_figure(scores: Tensor, pattern: Tensor, name: str) -> Figure:
    """Induction score of each head (layers, H), and the attention (2L, 2L) of the best one."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.4))
    image = left.imshow(scores.T, aspect="auto", vmin=0, vmax=1, cmap="Greys")
    left.set(xlabel="layer", ylabel="head", title="Which heads look after the earlier copy")
    left.grid(False)
    figure.colorbar(image, ax=left, label="induction score")
    right.imshow(pattern, vmin=0, vmax=1, cmap="Greys")
    half = len(pattern) // 2
    right.axhline(half - 0.5, color="#D55E00", linewidth=1)
    right.axvline(half - 0.5, color="#D55E00", linewidth=1)
    right.set(xlabel="token looked at", ylabel="token looking", title=f"{name} on {half} random tokens, twice")
    right.grid(False)
    return figure
