"""The rules and the configurations, as Prometheus' own programs read and evaluate them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.alarms import GOES_OFF, HOUR, NOW, SAYS, STAYS_QUIET, Told
from tests.infra.files import COMPOSE, INFRA, ROOT
from tests.infra.programs import program
from tests.infra.test_monitoring import ALERTS, fires, runbook

RULES = INFRA / "prometheus/rules.yml"
MINUTE = 60.0
SECONDS = 180.0


def ran(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_prometheus_takes_the_rules_and_refuses_broken_ones(tmp_path: Path) -> None:
    done = ran("promtool", "check", "rules", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "rules.yml"
    broken.write_text(RULES.read_text().replace("sum by (queue)", "sum by (queue", 1).replace("[6h]", "[6x]"))
    assert ran("promtool", "check", "rules", broken).returncode != 0


@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
def test_prometheus_takes_its_configurations(name: str, tmp_path: Path) -> None:
    said = (INFRA / "prometheus" / name).read_text()
    mounts = [volume.split(":")[:2] for volume in COMPOSE["services"]["prometheus"]["volumes"]]
    for outside, inside in mounts:
        said = said.replace(inside, str(ROOT / outside)) if outside.startswith("./") else said
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    (tmp_path / name).write_text(said)
    done = ran("promtool", "check", "config", tmp_path / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def window(alert: str) -> float:
    """How long before ``NOW`` the samples begin: what the rule looks back, its wait, and a little more."""
    rule = ALERTS[alert]
    back = max((seconds(said) for said in re.findall(r"\[(\d+[mhd])\]", whole(alert))), default=0.0)
    return back + seconds(rule.get("for", "0m")) + HOUR


def sampled(alert: str, series: tuple[Told, ...], begins: float = 0.0) -> list[dict[str, str]]:
    """As promtool reads them: a sample a minute up to ``NOW`` and ten minutes on; before ``begins`` there are none."""
    first = NOW - window(alert)
    count = int((window(alert) + 10 * MINUTE) / MINUTE) + 1
    found = []
    for name, labels, value in series:
        read = [value(at) if at >= begins else None for at in (first + n * MINUTE for n in range(count))]
        selector = ",".join(f"{key}={json.dumps(said)}" for key, said in labels.items())
        values = " ".join("_" if it is None else repr(float(it)) for it in read)
        found.append({"series": f"{name}{{{selector}}}", "values": values})
    return found


def expected(alert: str, series: tuple[Told, ...], says: str | None) -> dict[str, Any]:
    """What is to go off now: with the labels that our own evaluator finds, and the sentence that people read."""
    rule, alerts = ALERTS[alert], []
    if says is not None:
        [labels] = fires(alert, *series)
        annotations = {"summary": says, "runbook_url": f"runbooks.md#{runbook(alert)}"}
        alerts = [{"exp_labels": {**dict(labels), **rule["labels"]}, "exp_annotations": annotations}]
    return {"alertname": alert, "exp_alerts": alerts}


def minutes(seconds: float) -> str:
    return f"{int(seconds / MINUTE)}m"


def tried(alert: str, tests: list[dict[str, Any]], folder: Path) -> None:
    """Of the rules, those that the alert rests on: promtool evaluates all that it is given, for each minute."""
    path, rules = folder / "tests.yml", folder / "rules.yml"
    resting = [*(rule for rule in recorded() if rule["record"] in ALERTS[alert]["expr"]), ALERTS[alert]]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "alert", "rules": resting}]}))
    said = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(yaml.safe_dump(said, width=1_000_000))
    done = ran("promtool", "test", "rules", path)
    assert done.returncode == 0, re.sub(r"\n+", "\n", done.stdout + done.stderr)[:3_000]


@pytest.mark.parametrize("alert", ALERTS)
def test_prometheus_fires_as_people_should_be_told_and_not_otherwise(alert: str, tmp_path: Path) -> None:
    assert len(SAYS[alert]) == len(GOES_OFF[alert])
    scenes = [*zip(GOES_OFF[alert], SAYS[alert], strict=True), *((series, None) for series in STAYS_QUIET[alert])]
    tests = [
        {
            "interval": "1m",
            "input_series": sampled(alert, series),
            "alert_rule_test": [{"eval_time": minutes(window(alert)), **expected(alert, series, says)}],
        }
        for series, says in scenes
    ]
    tried(alert, tests, tmp_path)


def seconds(said: str) -> float:
    return float(said[:-1]) * {"m": MINUTE, "h": HOUR, "d": 24 * HOUR}[said[-1]]


def standing() -> list[str]:
    """Alerts on what stands at a moment, and that wait for it to last."""
    return [name for name in ALERTS if "for" in ALERTS[name] and not re.search(r"rate|increase", whole(name))]


def whole(alert: str) -> str:
    expr = ALERTS[alert]["expr"]
    return f"{expr} " + " ".join(rule.get("expr", "") for rule in recorded() if rule["record"] in expr)


def recorded() -> list[dict[str, str]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "record" in rule]


def test_most_alerts_wait() -> None:
    assert set(standing()) == {
        "AlmanacDown", "AlmanacBusy", "AlmanacCostNearCap", "AlmanacQueueStuck", "AlmanacQueueLong",
        "AlmanacSourceDrift", "AlmanacSourceFailing", "AlmanacDocumentsUnreadable",
    }  # fmt: skip


@pytest.mark.parametrize("alert", standing())
def test_what_lasts_too_short_calls_nobody(alert: str, tmp_path: Path) -> None:
    """The trouble begins a little later than it would have to, to be told of now; and is told of a little later."""
    waits, series = seconds(ALERTS[alert]["for"]), GOES_OFF[alert][0]
    test = {
        "interval": "1m",
        "input_series": sampled(alert, series, NOW - waits + MINUTE),
        "alert_rule_test": [
            {"eval_time": minutes(window(alert)), **expected(alert, series, None)},
            {"eval_time": minutes(window(alert) + 5 * MINUTE), **expected(alert, series, SAYS[alert][0])},
        ],
    }
    tried(alert, [test], tmp_path)
