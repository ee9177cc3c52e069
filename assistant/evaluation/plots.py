"""The plots of a report, as SVG that takes its colours from the page: values with intervals, changes, spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

WIDTH, LABELS, NUMBERS, ROW = 1_000, 330, 110, 30
PLOT = WIDTH - LABELS - NUMBERS
BINS = 24


def values(metrics: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]) -> str:
    """A dot and its interval for each share; a ring where the run that is compared with stood."""
    rows = [(name, metric) for name, metric in metrics.items() if metric["unit"] == "share"]
    height = ROW * len(rows) + 34
    parts = [_scale(height, [0, 0.25, 0.5, 0.75, 1], lambda at: at)]
    for place, (name, metric) in enumerate(rows):
        y = 12 + ROW * place + ROW / 2
        low, high, value = (LABELS + PLOT * _unit(metric[key]) for key in ("low", "high", "value"))
        kind = "worse" if name in before and before[name]["gate"] and before[name]["loss"] > 0.0005 else ""
        ring = ""
        if name in before:
            x = LABELS + PLOT * _unit(before[name]["before"])
            ring = f'<circle class="before" cx="{x:.1f}" cy="{y}" r="7"/>'
        parts.append(
            f'<g class="{kind}">{_label(metric["title"], y)}<line class="range" x1="{low:.1f}" x2="{high:.1f}" '
            f'y1="{y}" y2="{y}"/>{ring}<circle class="dot" cx="{value:.1f}" cy="{y}" r="5"/>'
            f'<text x="{LABELS + PLOT + 22}" y="{y + 4}">{metric["value"]:.3f}'
            f'<tspan class="soft" dx="8">n {metric["cases"]}</tspan></text></g>'
        )
    return _svg(height, "Metrics with 95 % intervals", parts)


def changes(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """Each share's difference with its paired interval, around zero."""
    rows = [row for row in compared.values() if row["unit"] == "share"]
    reach: float = max([0.05, *(abs(row[key]) for row in rows for key in ("low", "high"))]) * 1.05
    height = ROW * len(rows) + 34

    def place(value: float) -> float:
        return (value / reach + 1) / 2

    parts = [_scale(height, [-reach, 0, reach], place, signed=True)]
    for number, row in enumerate(rows):
        y = 12 + ROW * number + ROW / 2
        low, high, value = (LABELS + PLOT * place(row[key]) for key in ("low", "high", "difference"))
        kind = "even" if abs(row["loss"]) < 0.0005 else "loss" if row["loss"] > 0 else "gain"
        parts.append(
            f'{_label(row["title"], y)}<g class="{kind}"><line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" '
            f'stroke-width="4" opacity=".4"/><circle cx="{value:.1f}" cy="{y}" r="5"/></g>'
            f'<text x="{LABELS + PLOT + 22}" y="{y + 4}">{_signed(row["difference"])}</text>'
        )
    return _svg(height, "Differences with 95 % intervals", parts)


def spread(seconds: Sequence[float]) -> str:
    """How long the questions took, as a histogram up to the 99th percentile."""
    top = float(np.percentile(seconds, 99)) or 1.0
    counts, edges = np.histogram(np.minimum(seconds, top), bins=BINS, range=(0, top))
    height, base = 190, 150
    parts = []
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        x, width = WIDTH * left / top, WIDTH * (right - left) / top
        tall = 130 * count / max(counts)
        parts.append(
            f'<rect class="bar" rx="2" x="{x + 1:.1f}" y="{base - tall:.1f}" '
            f'width="{width - 2:.1f}" height="{tall:.1f}">'
            f"<title>{count} questions, {left:.2f} to {right:.2f} s</title></rect>"
        )
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>')
    for share, anchor in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end")):
        x = WIDTH * share
        parts.append(
            f'<text class="soft" x="{x:.0f}" y="{base + 22}" text-anchor="{anchor}">{top * share:.2f} s</text>'
        )
    return _svg(height, "Seconds of a question", parts)


def _signed(value: float) -> str:
    return "0" if abs(value) < 0.0005 else f"{value:+.3f}"


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _label(title: str, y: float) -> str:
    return f'<text x="{LABELS - 16}" y="{y + 4}" text-anchor="end">{escape(title)}</text>'


def _scale(height: int, ticks: Sequence[float], place: Any, signed: bool = False) -> str:
    parts = []
    for tick in ticks:
        x = LABELS + PLOT * place(tick)
        words = "0" if tick == 0 else f"{tick:+.2f}" if signed else f"{tick:g}"
        parts.append(
            f'<line class="{"axis" if signed and tick == 0 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="6" '
            f'y2="{height - 22}"/><text class="soft" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{words}</text>'
        )
    return "".join(parts)


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
