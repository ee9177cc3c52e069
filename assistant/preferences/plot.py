"""What changed because of votes as a picture: each version's gain, and where what comes first now stood before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError

COLOURS = {
    "promoted": "#2f6f4f",
    "canary": "#c98a1b",
    "candidate": "#4a7fb5",
    "retired": "#9aa5a0",
    "refused": "#b5562f",
}
UP, LINE = "#2f6f4f", "#c9d3ce"
VERSIONS, QUESTIONS = 12, 14
LONGEST = 44  # characters of a question


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a ``showing.report``; the suffix chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    risen = _risen(report["report"]["changes"]["questions"])
    height = 2.2 + 0.34 * max(len(risen), 6)
    figure, axes = plt.subplots(1, 2, figsize=(12.5, height), layout="constrained", width_ratios=(1, 1.35))
    _gains(axes[0], [one for one in report["gains"] if one["gain"] is not None][-VERSIONS:])
    _ranks(axes[1], risen, report["report"]["changes"])
    for axis in axes:
        axis.grid(axis="x", color="#e4e4e4", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(left=False)
        axis.spines[["top", "right", "left"]].set_visible(False)
    votes = report["report"]["votes"]
    made = f"{votes['counted']:,} votes of {votes['voters']:,} people on {votes['questions']:,} questions"
    figure.suptitle(f"Version {report['version']} ({report['state']}): {made}", x=0.01, ha="left", fontweight="bold")
    try:
        figure.savefig(path, dpi=140)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AlmanacError(f"{path} cannot be written ({reason}).") from error
    finally:
        plt.close(figure)


def _gains(axis: Any, gains: Sequence[Mapping[str, Any]]) -> None:
    """A dot and its interval for each version that was put to the test, the newest below."""
    axis.set_title("Gain on votes it was not learned from", loc="left", fontsize=10)
    axis.axvline(0, color="#555555", linewidth=1)
    for row, one in enumerate(gains):
        colour = COLOURS[one["state"]]
        axis.plot(one["interval"], [row, row], color=colour, linewidth=2.5, alpha=0.45)
        axis.plot(one["gain"], row, "o", color=colour, markersize=7)
        axis.annotate(
            f"{one['gain']:+.3f}", (one["gain"], row), xytext=(0, 7), textcoords="offset points", ha="center",
            fontsize=8, color=colour,
        )  # fmt: skip
    axis.set_yticks(range(len(gains)), [f"{one['version']} {one['state']}" for one in gains])
    axis.set_ylim(len(gains) - 0.4, -0.6)
    axis.margins(x=0.12)
    axis.set_xlabel("discounted ranks; lines: 99 in 100", fontsize=9)
    if not gains:
        _nothing(axis, "No version had enough votes\nto be put to the test.")


def _risen(questions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Question, passage that is first now, and its rank before; those that came from farthest first."""
    found = [
        (one["question"], _place(one["after"][0]), one["after"][0]["rank"]["before"])
        for one in questions
        if one["after"][0]["rank"]["before"] > 1
    ]
    return sorted(found, key=lambda one: -one[2])[:QUESTIONS]


def _ranks(axis: Any, risen: Sequence[tuple[str, str, int]], changes: Mapping[str, Any]) -> None:
    """A line for each question from where its first passage stood to the top."""
    looked, first = changes["looked_at"], changes["first_changed"]
    axis.set_title(
        f"What comes first now, and where it stood ({first:,} of {looked:,} questions)", loc="left", fontsize=10
    )
    most = max((before for _, _, before in risen), default=2)
    for row, (_, title, before) in enumerate(risen):
        axis.plot([before, 1], [row, row], color=LINE, linewidth=3, solid_capstyle="round")
        axis.plot(before, row, "o", color="#9aa5a0", markersize=6)
        axis.plot(1, row, "o", color=UP, markersize=7)
        axis.annotate(
            _short(title), (before, row), xytext=(9, 0), textcoords="offset points", va="center", fontsize=8,
            color="#444444",
        )  # fmt: skip
    axis.set_yticks(range(len(risen)), [_short(question) for question, _, _ in risen], fontsize=8)
    axis.set_ylim(max(len(risen), 1) - 0.4, -0.6)
    axis.set_xlim(0.6, most + max(2.5, 0.9 * most))
    axis.set_xticks(range(1, most + 1))
    axis.set_xlabel("rank", fontsize=9)
    if not risen:
        _nothing(axis, "No question begins with another passage.")


def _nothing(axis: Any, sentence: str) -> None:
    axis.set_yticks([])
    axis.text(0.5, 0.5, sentence, transform=axis.transAxes, ha="center", va="center", color="#777777")


def _place(passage: Mapping[str, Any]) -> str:
    section = passage["section"].split(" > ")[-1]
    return f"{passage['title']} › {section}" if section and section != passage["title"] else str(passage["title"])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"
