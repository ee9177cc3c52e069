"""The model card of a version, and its loss as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LICENCES = {"smollm2-135m-instruct": "Apache-2.0 (the base model's; the data are your organisation's own)"}
NOT_SHOWN = ("losses", "accuracies", "held_out", "estimate", "versions", "hyper")


def write_card(
    base: str, kind: str, training: Mapping[str, Any], gate: Mapping[str, Any], data: str, before: str | None
) -> str:
    """Markdown; ``{name}`` stands where the registry puts the version's name. ``data``: the data card."""
    how = "DPO on pairs of replies (TRL)" if kind == "dpo" else "LoRA (peft)"
    compared = before or f"the base model {base} itself"
    parts = [
        "# {name}",
        f"An adapter for **{base}**, trained by Almanac with {how}. It changes how the base model answers, "
        "and is of no use without it.",
        "## Measures",
        f"Verdict of the gate: **{gate['verdict']}**. {' '.join(gate['reasons'])}",
        f"Compared with {compared}, on what neither was trained on:",
        measures_table(gate["measures"]),
        "Brackets are 95 % bootstrap intervals of the change, over cases. General questions and texts are Almanac's "
        "own (60 questions with four answers each, 12 texts), and of no domain: they guard against forgetting.",
        "## Training",
        _training_table(training),
        "![loss](loss.png)",
        "## Data",
        data.strip() or "No data card was kept.",
        "## Limits",
        "It was measured on few cases of one organisation, and in the language of its documents. A small model "
        "states what is wrong with the same assurance as what is right: answers go through the check against "
        "their passages whatever model writes them. Whoever may ask this version may learn what its training data "
        "said: train it only on what all who ask may read.",
        "## Licence",
        LICENCES.get(base, "That of the base model; the data are your organisation's own."),
    ]
    return "\n\n".join(parts) + "\n"


def measures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| measure | before | after | change | cases |", "|---|---|---|---|---|"]
    for row in rows:
        mark = " ✓" if row["gain"] else " ✗" if row["lost"] else ""
        cells = (row["title"], number(row["before"]), number(row["after"]), change(row) + mark, str(row["cases"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def change(row: Mapping[str, Any]) -> str:
    """The change with its interval, as people read it."""
    scale, unit = (100.0, " %") if row["relative"] else (1.0, "")
    value, low, high = (scale * row[name] for name in ("change", "low", "high"))
    digits = 1 if row["relative"] else 3
    return f"{value:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}]"


def number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _training_table(training: Mapping[str, Any]) -> str:
    flat = {**training.get("hyper", {}), **{k: v for k, v in training.items() if k not in NOT_SHOWN}}
    lines = ["| what | value |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {_value(value)} |" for name, value in flat.items() if value is not None]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def draw_losses(losses: Sequence[Sequence[float]], accuracies: Sequence[Sequence[float]], path: Path) -> None:
    """Step by step: the loss, and of DPO also how many pairs of a batch are told apart."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    axis.plot(*zip(*losses, strict=True), color="#2f6f4f", linewidth=1.6, label="loss")
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    if accuracies:
        other = axis.twinx()
        other.plot(*zip(*accuracies, strict=True), color="#4a7fb5", linewidth=1.2, alpha=0.7)
        other.set_ylabel("pairs told apart", color="#4a7fb5")
        other.set_ylim(0, 1.02)
    axis.grid(color="#e4e4e4", linewidth=0.8)
    axis.spines[["top"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
