"""Writes ``dashboards/almanac.json`` from ``panels.yml``: ``python infra/grafana/build.py``.

The JSON is what Grafana (11 or newer) reads, by provisioning or by import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 7


def panel(said: dict[str, Any], number: int, x: int, y: int) -> dict[str, Any]:
    """One panel as Grafana says it, from an entry of ``panels.yml``."""
    thresholds = said.get("thresholds")
    color = {"mode": "thresholds" if thresholds else "palette-classic"}
    defaults: dict[str, Any] = {"unit": said["unit"], "min": 0, "color": color}
    if thresholds:
        steps = [{"color": name, "value": value} for name, value in thresholds.items()]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    kind = said.get("kind", "timeseries")
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if kind == "timeseries":
        stacked = said.get("stacked", False)
        look = {"fillOpacity": 25 if stacked else 8, "lineWidth": 1, "showPoints": "never", "spanNulls": True}
        defaults["custom"] = {**look, "stacking": {"mode": "normal" if stacked else "none"}}
        legend = {"displayMode": "list", "placement": "bottom"}
        options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {
        "id": number,
        "type": kind,
        "title": said["title"],
        "datasource": SOURCE,
        "targets": [target(letter, query) for letter, query in zip("ABCDEF", said["queries"], strict=False)],
        "options": options,
        "gridPos": {"x": x, "y": y, "w": said["width"], "h": HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


def target(letter: str, query: dict[str, str]) -> dict[str, Any]:
    return {
        "refId": letter,
        "expr": query["expr"],
        "legendFormat": query["legend"] or "__auto",
        "datasource": SOURCE,
    }


def panels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows below each other, their panels side by side until the width is full."""
    found: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        title = row["row"]
        found.append({"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place})
        x, y = 0, y + 1
        for said in row["panels"]:
            if x + said["width"] > WIDTH:
                x, y = 0, y + HEIGHT
            found.append(panel(said, len(found) + 1, x, y))
            x += said["width"]
        y += HEIGHT
    return found


def dashboard() -> dict[str, Any]:
    rows = yaml.safe_load((HERE / "panels.yml").read_text(encoding="utf-8"))
    variable = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    return {
        "uid": "almanac",
        "title": "Almanac",
        "tags": ["almanac"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": [variable]},
        "annotations": {"list": []},
        "panels": panels(rows),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "dashboards/almanac.json").write_text(text(), encoding="utf-8")
