"""The dashboard and the alerts rest on metrics that there are, parse, say what to do, and go off when they should.

Prometheus' own ``promtool`` is a program of its own that is not here: queries are parsed by ``promql-parser`` and tried
on samples by ``tests.infra.promql``.
"""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from assistant.metrics import Metrics, names
from tests.infra.promql import Prometheus, Value

INFRA = Path(__file__).parents[2] / "infra"
RULES = yaml.safe_load((INFRA / "prometheus/rules.yml").read_text())["groups"]
DASHBOARD = json.loads((INFRA / "grafana/dashboards/almanac.json").read_text())
RECORDED = {rule["record"]: rule["expr"] for group in RULES for rule in group["rules"] if "record" in rule}
ALERTS = {rule["alert"]: rule for group in RULES for rule in group["rules"] if "alert" in rule}
NOT_OURS = {"up"}
HOUR = 3600.0
NOW = 40 * 24 * HOUR


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


def test_every_alert_says_what_to_do() -> None:
    page = (INFRA / "prometheus/runbooks.md").read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    used = set()
    for name, rule in ALERTS.items():
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert file == "runbooks.md"
        assert anchor in anchors, name
        used.add(anchor)
        assert rule["labels"]["severity"] in ("page", "ticket")
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = set(re.findall(r"by \((\w+)\)", rule["expr"])) | {"instance", "window", "model"}
        assert named <= grouped, name
    assert used == anchors  # and no advice is left over


def test_each_recording_is_used() -> None:
    everything = " ".join(query for name, query in QUERIES.items() if not name.startswith("rule"))
    for name in RECORDED:
        assert name in everything


Told = tuple[str, Mapping[str, str], Callable[[float], float | None]]


def grows(name: str, per_hour: float, since: float = 0.0, **labels: str) -> Told:
    """A counter; ``since``: seconds before now from which on it grows."""
    begins = NOW - since if since else 0.0
    return (name, labels, lambda at: max(0.0, at - begins) * per_hour / HOUR)


def stands(name: str, value: float, **labels: str) -> Told:
    return (name, labels, lambda _: value)


def fires(alert: str, *series: Told) -> Value:
    prometheus = Prometheus(series)
    for name, expr in RECORDED.items():
        prometheus.record(name, expr)
    found = prometheus.query(ALERTS[alert]["expr"], NOW)
    assert isinstance(found, dict)
    return {labels: value for labels, value in found.items() if not math.isnan(value)}


def answers(failed: float, good: float = 100.0, since: float = 0.0, nothing: float = 0.0) -> tuple[Told, ...]:
    return (
        grows("almanac_answers_total", good, platform="slack", outcome="answered"),
        grows("almanac_answers_total", nothing, platform="slack", outcome="not_in_documents"),
        grows("almanac_answers_total", failed, since, platform="slack", outcome="failed"),
    )


def first_text(seconds: float) -> tuple[Told, ...]:
    """Questions of which nine in ten take ``seconds``, and the rest a tenth of a second."""
    edges = [0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf]
    return tuple(
        grows(
            "almanac_first_token_seconds_bucket", 100.0 if edge >= seconds else 10.0, platform="slack",
            le="+Inf" if math.isinf(edge) else str(edge),
        )
        for edge in edges
    )  # fmt: skip


def calls(good: float, failed: float) -> tuple[Told, ...]:
    return (
        grows("almanac_model_calls_total", good, model="m", purpose="write", outcome="done"),
        grows("almanac_model_calls_total", failed, model="m", purpose="write", outcome="failed"),
    )


def tools(done: float, failed: float) -> tuple[Told, ...]:
    return (
        grows("almanac_tool_calls_total", done, tool="t", outcome="done"),
        grows("almanac_tool_calls_total", failed, tool="t", outcome="failed"),
    )


def blocked(per_hour: float, since: float = 0.0) -> tuple[Told, ...]:
    return (
        grows("almanac_guard_verdicts_total", 2.0, where="question", verdict="block"),
        grows("almanac_guard_verdicts_total", per_hour, since, where="document", verdict="block"),
    )


GOES_OFF: dict[str, list[tuple[Told, ...]]] = {
    "AlmanacDown": [(stands("up", 0, job="almanac", instance="a"),)],
    "AlmanacErrorsFast": [answers(failed=10)],
    "AlmanacErrorsSlow": [answers(failed=4), answers(failed=10)],
    "AlmanacFirstTextSlow": [first_text(10.0)],
    "AlmanacManyUnanswered": [answers(0, good=10, nothing=10)],
    "AlmanacCostNearCap": [
        (stands("almanac_spent_usd", 9, window="day"), stands("almanac_cap_usd", 10, window="day")),
    ],
    "AlmanacCapReached": [(grows("almanac_cap_refusals_total", 40, 600, cap="channel"),)],
    "AlmanacQueueStuck": [
        (stands("almanac_queue_age_seconds", 300, queue="inbox_slack"),),
        (stands("almanac_queue_age_seconds", 3600, queue="runs"),),
    ],
    "AlmanacQueueLong": [(stands("almanac_queue_depth", 200, queue="runs"),)],
    "AlmanacSourceDrift": [(
        stands("almanac_source_drift", 15, source="1 wiki", what="missing"),
        stands("almanac_source_drift", 15, source="1 wiki", what="gone"),
    )],
    "AlmanacSourceFailing": [(stands("almanac_source_failed_syncs", 3, source="1 wiki"),)],
    "AlmanacDocumentsUnreadable": [(stands("almanac_source_failures", 60, source="1 wiki"),)],
    "AlmanacModelErrors": [calls(good=100, failed=50)],
    "AlmanacToolErrors": [tools(done=5, failed=30)],
    "AlmanacGuardSurge": [blocked(100, since=600)],
}  # fmt: skip
STAYS_QUIET: dict[str, list[tuple[Told, ...]]] = {
    "AlmanacDown": [(stands("up", 1, job="almanac", instance="a"), stands("up", 0, job="other", instance="b"))],
    "AlmanacErrorsFast": [answers(failed=0), answers(failed=4), answers(failed=10, since=60), ()],
    "AlmanacErrorsSlow": [answers(failed=1), answers(failed=400, since=60)],
    "AlmanacFirstTextSlow": [first_text(2.5), ()],
    "AlmanacManyUnanswered": [answers(0, good=10, nothing=5), answers(0, good=1, nothing=1)],
    "AlmanacCostNearCap": [
        (stands("almanac_spent_usd", 7, window="day"), stands("almanac_cap_usd", 10, window="day")),
        (stands("almanac_spent_usd", 900, window="day"),),  # no cap
        (stands("almanac_spent_usd", 9, window="month"), stands("almanac_cap_usd", 10, window="day")),
    ],
    "AlmanacCapReached": [(stands("almanac_cap_refusals_total", 40, cap="channel"),)],
    "AlmanacQueueStuck": [
        (
            stands("almanac_queue_age_seconds", 60, queue="inbox_slack"),
            stands("almanac_queue_age_seconds", 900, queue="runs"),
        ),
    ],
    "AlmanacQueueLong": [(stands("almanac_queue_depth", 100, queue="runs"),)],
    "AlmanacSourceDrift": [(
        stands("almanac_source_drift", 15, source="1", what="gone"),
        stands("almanac_source_drift", 15, source="2", what="gone"),
    )],
    "AlmanacSourceFailing": [(stands("almanac_source_failed_syncs", 2, source="1 wiki"),)],
    "AlmanacDocumentsUnreadable": [(stands("almanac_source_failures", 50, source="1 wiki"),)],
    "AlmanacModelErrors": [calls(good=100, failed=5), calls(good=3, failed=3)],
    "AlmanacToolErrors": [tools(done=100, failed=30), tools(done=0, failed=2)],
    "AlmanacGuardSurge": [blocked(100), blocked(20, since=600)],
}  # fmt: skip


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
