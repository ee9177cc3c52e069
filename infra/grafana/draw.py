"""Draws the dashboard without Grafana: ``python infra/grafana/draw.py http://127.0.0.1:9090 dashboard.png``.

Each panel of ``dashboards/almanac.json`` is asked of a Prometheus over the last minutes, as Grafana would ask, and
drawn with its title, unit and legend. It is for reports and for machines that have no Grafana; the look is plain.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DASHBOARD = Path(__file__).parent / "dashboards/almanac.json"
POINTS = 120
UNITS = {
    "s": "s", "percentunit": "%", "reqps": "a second", "currencyUSD": "US dollars", "short": "", "none": "",
}  # fmt: skip
Series = dict[str, list[tuple[float, float]]]


def asked(url: str, expr: str, minutes: float) -> list[dict[str, Any]]:
    """What a range query gives; raises ``OSError`` where Prometheus does not answer."""
    end = time.time()
    said = {"query": expr, "start": end - minutes * 60, "end": end, "step": max(1.0, minutes * 60 / POINTS)}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(said)}"
    with urllib.request.urlopen(address, timeout=30) as response:  # noqa: S310 - whoever runs this names the address
        found: list[dict[str, Any]] = json.load(response)["data"]["result"]
    return found


def legend(template: str, labels: dict[str, str]) -> str:
    if template == "__auto":
        return ""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template).strip()


def series(url: str, panel: dict[str, Any], minutes: float) -> Series:
    """Legend -> (minutes before now, value), of what was something else than nothing."""
    found: Series = {}
    now = time.time()
    for target in panel["targets"]:
        for one in asked(url, target["expr"].replace("$__rate_interval", "1m"), minutes):
            points = [((at - now) / 60, float(value)) for at, value in one["values"] if value != "NaN"]
            if any(value for _, value in points):
                found[legend(target["legendFormat"], one["metric"])] = points
    return found


def draw(axes: Axes, panel: dict[str, Any], found: Series, minutes: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    factor = 100 if unit == "percentunit" else 1
    axes.set_title(panel["title"], fontsize=9, loc="left", fontweight="bold")
    axes.set_ylabel(UNITS.get(unit, unit), fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    shown = sorted(found.items(), key=lambda it: -max(value for _, value in it[1]))
    for name, points in shown:
        axes.plot([at for at, _ in points], [value * factor for _, value in points], linewidth=1.2, label=name)
    axes.set_xlim(-minutes, 0)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    axes.grid(alpha=0.25, linewidth=0.5)
    if any(name for name, _ in shown):
        axes.legend(fontsize=6, framealpha=0.7, edgecolor="none", ncols=2, loc="upper left")


def picture(url: str, minutes: float) -> Figure:
    panels = [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]
    found = [(panel, series(url, panel, minutes)) for panel in panels]
    shown = [(panel, it) for panel, it in found if it]  # of what did not happen, only the names are told
    rows = -(-len(shown) // 4)
    figure = Figure(figsize=(16, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False).flat
    for place, (panel, it) in zip(axes, shown, strict=False):
        draw(place, panel, it, minutes)
    for place in figure.axes[len(shown) :]:
        place.set_visible(False)
    missing = ", ".join(panel["title"] for panel, it in found if not it)
    said = f"minutes before now{f'. Nothing happened in: {missing}' if missing else ''}"
    figure.supxlabel(textwrap.fill(said, 200), fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the dashboard from a Prometheus.")
    parser.add_argument("url", help="Prometheus' address")
    parser.add_argument("file", type=Path, help="the picture, .png or .svg")
    parser.add_argument("--minutes", type=float, default=5.0, help="how far back")
    given = parser.parse_args()
    picture(given.url.rstrip("/"), given.minutes).savefig(given.file, dpi=100)


if __name__ == "__main__":
    main()
