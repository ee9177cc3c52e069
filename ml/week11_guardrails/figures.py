"""The pictures of week 11."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ml.week11_guardrails import quantiles, roc
from ml.week11_guardrails.spans import Score


def draw_roc(
    curves: dict[str, tuple[np.ndarray, np.ndarray]], title: str, across: str, up: str, low: float = 1e-3
) -> Figure:
    """ROC curves from name -> (labels, scores), false positives on a logarithmic axis: the left end is what counts."""
    figure, axis = plt.subplots(figsize=(6.4, 4))
    for name, (labels, scores) in curves.items():
        false, true, _ = roc.curve(labels, scores)
        # Steps, not slopes: between two thresholds nothing can be chosen, and a logarithmic axis has no zero.
        axis.step(np.maximum(false, low), true, where="post", label=f"{name} ({roc.area(labels, scores):.3f})")
    axis.axvline(0.02, color="#888888", linewidth=1, linestyle=":")
    axis.set(xscale="log", xlim=(low, 1), ylim=(0, 1.02), title=title)
    axis.set(xlabel=across, ylabel=up)
    axis.legend(title="(area under the curve)", loc="lower right", handlelength=4)
    return figure


def draw_sources(rows: list[tuple[str, str, int, float]], unseen: dict[str, float]) -> Figure:
    """Share flagged by source: a bar each, and a mark for a classifier that never saw the source."""
    figure, axis = plt.subplots(figsize=(7, 3.6))
    names = [f"{source}\n{what}, {count}" for source, what, count, _ in rows]
    colours = ["#0072B2" if what == "harmless" else "#D55E00" for _, what, _, _ in rows]
    bars = axis.bar(names, [share for *_, share in rows], color=colours)
    axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    places = [i for i, (source, what, _, _) in enumerate(rows) if f"{source} {what}" in unseen]
    values = [unseen[f"{rows[i][0]} {rows[i][1]}"] for i in places]
    beside = [place + 0.2 for place in places]
    axis.plot(beside, values, "kD", linestyle="none", label="by a classifier that never saw this source")
    axis.set(ylabel="share flagged", ylim=(0, 1.1), title="Who is flagged at 2 % false alarms overall")
    axis.tick_params(axis="x", labelsize=7)
    axis.legend(loc="upper left")
    axis.grid(axis="x", visible=False)
    return figure


def draw_pii(scores: dict[str, Score]) -> Figure:
    """Precision and recall by kind, the best found on top."""
    kinds = sorted(scores, key=lambda kind: (scores[kind].f1, -scores[kind].labelled))
    place = np.arange(len(kinds))
    figure, axis = plt.subplots(figsize=(6.4, 4.6))
    axis.barh(place + 0.2, [scores[k].precision for k in kinds], 0.38, label="precision", color="#56B4E9")
    axis.barh(place - 0.2, [scores[k].recall for k in kinds], 0.38, label="recall", color="#0072B2", hatch="//")
    axis.set_yticks(place, [f"{kind.lower().replace('_', ' ')} ({scores[kind].labelled})" for kind in kinds])
    axis.set(xlabel="share, spans exactly right", title="What patterns find, and what they cannot", xlim=(0, 1.02))
    axis.legend(loc="lower right", frameon=True)
    axis.grid(axis="y", visible=False)
    return figure


def draw_calibration(parts: dict[str, tuple[np.ndarray, float]]) -> Figure:
    """Reliability diagrams: what was promised against what came."""
    figure, axis = plt.subplots(figsize=(4.6, 4.2))
    axis.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=":")
    for (name, (rows, error)), mark in zip(parts.items(), "os", strict=False):
        axis.plot(rows[:, 0], rows[:, 1], marker=mark, label=f"{name} (error {error:.3f})")
    axis.set(xlabel="probability given", ylabel="share supported", title="Calibrated at home, not abroad")
    axis.legend(handlelength=4, loc="lower right", fontsize=8)
    return figure


def draw_repairs(outcomes: dict[str, dict[str, float]]) -> Figure:
    """Stacked bars: of the texts broken in each way, which came back the same, refused, or different."""
    figure, axis = plt.subplots(figsize=(6.6, 4.2))
    names, left = list(outcomes), np.zeros(len(outcomes))
    for outcome, colour, hatch in (
        ("same", "#009E73", ""),
        ("refused", "#E69F00", "//"),
        ("different", "#D55E00", "xx"),
    ):
        widths = np.array([outcomes[name][outcome] for name in names])
        axis.barh(names, widths, left=left, label=outcome, color=colour, hatch=hatch)
        left += widths
    axis.invert_yaxis()
    axis.set(xlabel="share of texts", title="Broken JSON, repaired", xlim=(0, 1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=3)
    axis.grid(axis="y", visible=False)
    return figure


def draw_money(spent: dict[str, np.ndarray], cap: float, seconds: np.ndarray) -> Figure:
    """Left: a burst against a cap, for each way of checking. Right: the error of three ways to a percentile."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    for name, values in spent.items():
        left.plot(np.arange(1, len(values) + 1), values / 1e6, label=name)
    left.axhline(cap / 1e6, color="black", linewidth=1, linestyle=":", label="the cap")
    left.set(xlabel="requests in flight at once", ylabel="spent in dollars", title="A cap that is looked at afterwards")
    left.legend(handlelength=4)
    shares = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
    for name, values in quantile_errors(seconds, shares).items():
        right.plot(np.arange(len(shares)), values * 100, marker="o", label=name)
    right.set_xticks(np.arange(len(shares)), [f"{share * 100:g}" for share in shares])
    right.set(xlabel="percentile", ylabel="relative error in %", title="Percentiles from counters", yscale="log")
    right.set_ylim(0.05, 200)
    right.legend(handlelength=4, loc="upper left", fontsize=8)
    return figure


FIXED = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]  # the default buckets of Prometheus' clients, seconds


def quantile_errors(seconds: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """|estimate - exact| / exact at each share, by sketch and by fixed buckets."""
    values = seconds.tolist()
    exact = np.array([quantiles.exact(values, share) for share in shares])
    found = {}
    for error in (0.01, 0.05):
        sketch = quantiles.Sketch(error)
        for value in values:
            sketch.add(value)
        found[f"sketch, {error:.0%}, {len(sketch.counts)} counters"] = [sketch.quantile(share) for share in shares]
    found["fixed, 11 counters"] = [quantiles.from_fixed_buckets(values, FIXED, share) for share in shares]
    return {name: np.abs(np.array(estimate) - exact) / exact for name, estimate in found.items()}


def draw_matrix(red: np.ndarray, defects: list[str], checks: list[str]) -> Figure:
    """Which check (a column) which defect (a row) turns red."""
    figure, axis = plt.subplots(figsize=(7.4, 6))
    axis.imshow(red, cmap="Oranges", vmin=0, vmax=1.4, aspect="auto")
    for row, column in zip(*np.nonzero(red), strict=True):
        axis.text(column, row, "×", ha="center", va="center")
    axis.set_xticks(range(len(checks)), checks, rotation=55, ha="right", fontsize=8)
    axis.set_yticks(range(len(defects)), defects, fontsize=8)
    axis.set_xticks(np.arange(-0.5, len(checks)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(defects)), minor=True)
    axis.grid(which="major", visible=False)
    axis.grid(which="minor")
    axis.tick_params(which="minor", length=0)
    axis.set(title="Which check notices which defect", xlabel="check", ylabel="defect")
    return figure
