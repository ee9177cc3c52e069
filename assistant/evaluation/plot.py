"""The result of ``almanac eval retrieval`` as a picture: how good each arm is, how sure that is, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError

SHOWN = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10"}
COLOURS = ("#2f6f4f", "#4a7fb5", "#b5562f")
FINAL_COLOUR = "#2f6f4f"
OTHER_COLOUR = "#9aa5a0"


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a ``assistant.evaluation.report.document``; the suffix chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(result["arms"])
    height = 1.6 + 0.62 * len(names)
    figure, axes = plt.subplots(
        1, 3, figsize=(12.5, height), sharey=True, layout="constrained", width_ratios=(1.5, 1.15, 1)
    )
    _quality(axes[0], result["arms"])
    _differences(axes[1], result["final_minus"], names)
    _latency(axes[2], result["arms"])
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.grid(axis="x", color="#e4e4e4", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(left=False)
        axis.spines[["top", "right", "left"]].set_visible(False)
    counts = f"{result['documents']:,} documents, {result['queries']:,} queries"
    figure.suptitle(f"{result['collection']}: {counts}", x=0.01, ha="left", fontweight="bold")
    try:
        figure.savefig(path, dpi=140)
    except OSError as error:
        raise AlmanacError(f"{path} cannot be written ({error.strerror or type(error).__name__}).") from error
    finally:
        plt.close(figure)


def _quality(axis: Any, arms: Mapping[str, Any]) -> None:
    """A dot and its interval for each measure, one above the other."""
    for place, (measure, label) in enumerate(SHOWN.items()):
        shift = 0.2 * (place - 1)
        for row, arm in enumerate(arms.values()):
            axis.plot(arm["intervals"][measure], [row + shift] * 2, color=COLOURS[place], linewidth=2, alpha=0.45)
            axis.plot(
                arm[measure], row + shift, "o", color=COLOURS[place], markersize=6, label=label if row == 0 else None
            )
            axis.annotate(
                f"{arm[measure]:.3f}", (arm["intervals"][measure][1], row + shift), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=7.5, color=COLOURS[place],
            )  # fmt: skip
    axis.margins(x=0.12)
    axis.set_title("quality, with 95 % intervals", fontsize=10, loc="left")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=3, frameon=False, fontsize=8.5)


def _differences(axis: Any, final_minus: Mapping[str, Any], names: list[str]) -> None:
    axis.axvline(0, color="black", linewidth=1)
    for name, differences in final_minus.items():
        found = differences["ndcg@10"]
        sure = found["low"] > 0 or found["high"] < 0
        colour = FINAL_COLOUR if sure and found["low"] > 0 else COLOURS[2] if sure else OTHER_COLOUR
        row = names.index(name)
        axis.plot([found["low"], found["high"]], [row, row], color=colour, linewidth=3, alpha=0.5)
        axis.plot(found["difference"], row, "o", color=colour, markersize=7)
        axis.annotate(
            f"{found['difference']:+.3f}", (found["difference"], row), xytext=(0, 8),
            textcoords="offset points", ha="center", fontsize=8, color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    axis.margins(x=0.12)
    axis.set_title("final minus the arm: nDCG@10, paired", fontsize=10, loc="left")


def _latency(axis: Any, arms: Mapping[str, Any]) -> None:
    for row, (name, arm) in enumerate(arms.items()):
        colour = FINAL_COLOUR if name == "final" else OTHER_COLOUR
        axis.barh(row, arm["p95_ms"], height=0.5, color=colour, alpha=0.35)
        axis.barh(row, arm["p50_ms"], height=0.5, color=colour)
        axis.annotate(
            f"{arm['p50_ms']:.1f} / {arm['p95_ms']:.1f}", (arm["p95_ms"], row), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axis.margins(x=0.3)
    axis.set_title("one search, p50 / p95, ms", fontsize=10, loc="left")
