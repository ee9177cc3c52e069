"""The dashboard and the alerts rest on metrics that there are, parse, say what to do, and go off when they should.

Queries are parsed by ``promql-parser`` and tried on samples by ``tests.infra.promql``; what Prometheus itself makes of
them is in ``test_rules.py``, where its programs can be had.
"""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from assistant.metrics import Metrics, names
from tests.infra.alarms import GOES_OFF, HOUR, NOW, STAYS_QUIET, Told, answers
from tests.infra.promql import Prometheus, Value

INFRA = Path(__file__).parents[2] / "infra"
RULES = yaml.safe_load((INFRA / "prometheus/rules.yml").read_text())["groups"]
DASHBOARD = json.loads((INFRA / "grafana/dashboards/almanac.json").read_text())
RECORDED = {rule["record"]: rule["expr"] for group in RULES for rule in group["rules"] if "record" in rule}
ALERTS = {rule["alert"]: rule for group in RULES for rule in group["rules"] if "alert" in rule}
NOT_OURS = {"up"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    found = {f"rule {name}": expr for name, expr in RECORDED.items()}
    found |= {f"alert {name}": rule["expr"] for name, rule in ALERTS.items()}
    for panel in panels():
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


QUERIES = queries()


def parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "1m"))


def selectors(node: Any) -> list[Any]:
    """Every selector of a series in a query."""
    found: list[Any] = []
    if type(node).__name__ == "VectorSelector":
        return [node]
    for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
        part = getattr(node, name, None)
        for child in part if isinstance(part, list) else [part]:
            if child is not None and type(child).__module__.startswith("promql_parser"):
                found += selectors(child)
    return found


def labels_of() -> dict[str, set[str]]:
    """Every time series that is told, and the labels that it may have."""
    metrics = Metrics()
    known: dict[str, set[str]] = {}
    for collector, owned in metrics.registry._collector_to_names.items():
        for name in names(metrics):
            if name in owned:
                known[name] = set(getattr(collector, "_labelnames", ())) | {"le"}
    return known


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_parses_and_names_metrics_and_labels_that_there_are(name: str) -> None:
    known = labels_of()
    found = selectors(parsed(QUERIES[name]))
    assert found
    for selector in found:
        if selector.name in RECORDED or selector.name in NOT_OURS:
            continue
        assert selector.name in known, f"{name} asks for {selector.name}"
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name]


def test_what_is_grouped_by_is_a_label_of_what_is_grouped() -> None:
    known = labels_of()
    for name, query in QUERIES.items():
        for grouped, inside in re.findall(r"by \(([^)]+)\) \((?:\w+\()*(almanac_\w+)", query):
            assert {label.strip() for label in grouped.split(",")} <= known[inside], (name, inside)


def test_the_check_sees_a_metric_that_is_none() -> None:
    assert "almanac_answer_total" not in labels_of()
    assert "almanac_answers_total" in labels_of()
    with pytest.raises(ValueError, match=r".+"):
        parsed("sum(rate(almanac_answers_total[5m])")


def test_the_dashboard_is_what_its_source_says() -> None:
    built = runpy.run_path(str(INFRA / "grafana/build.py"))["text"]()
    assert (INFRA / "grafana/dashboards/almanac.json").read_text() == built


def test_panels_lie_beside_each_other_and_are_named() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def runbook(alert: str) -> str:
    """The heading of an alert's own entry, as an anchor."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", alert).lower()


def test_every_alert_says_what_to_do_in_an_entry_of_its_own() -> None:
    page = (INFRA / "prometheus/runbooks.md").read_text()
    entries = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)+)", page, re.MULTILINE))
    anchors = {heading.lower().replace(" ", "-") for heading in entries}
    assert anchors == {runbook(name) for name in ALERTS}  # and no advice is left over
    assert all(len(advice.split()) >= 15 for advice in entries.values())
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"runbooks.md#{runbook(name)}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = set(re.findall(r"by \((\w+)\)", rule["expr"])) | {"instance", "window", "model"}
        assert named <= grouped, name


def test_each_recording_is_used() -> None:
    everything = " ".join(query for name, query in QUERIES.items() if not name.startswith("rule"))
    for name in RECORDED:
        assert name in everything


def fires(alert: str, *series: Told) -> Value:
    prometheus = Prometheus(series)
    for name, expr in RECORDED.items():
        prometheus.record(name, expr)
    found = prometheus.query(ALERTS[alert]["expr"], NOW)
    assert isinstance(found, dict)
    return {labels: value for labels, value in found.items() if not math.isnan(value)}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_goes_off_when_it_should_and_not_otherwise(alert: str) -> None:
    for series in GOES_OFF[alert]:
        assert fires(alert, *series), series
    for series in STAYS_QUIET[alert]:
        assert not fires(alert, *series), series


def test_a_burn_that_is_over_does_not_page() -> None:
    """Failures of an hour that ended ten minutes ago: the short window says that it is over."""
    ended = (
        "almanac_answers_total",
        {"platform": "slack", "outcome": "failed"},
        lambda at: min(at, NOW - 600) / HOUR * 50,
    )
    assert not fires("AlmanacErrorsFast", *answers(0)[:2], ended)
