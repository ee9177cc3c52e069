"""Writes the rules of ``infra/prometheus/rules.yml`` as Prometheus' operator reads them.

``python infra/kubernetes/rules.py``
"""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus/rules.yml"
WRITTEN = HERE / "components/prometheus-operator/rules.yaml"


def text() -> str:
    labels = {"app.kubernetes.io/name": "almanac", "app.kubernetes.io/component": "bot"}
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "almanac", "labels": labels},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }
    said = yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by infra/kubernetes/rules.py from infra/prometheus/rules.yml.\n{said}"


if __name__ == "__main__":
    WRITTEN.write_text(text(), encoding="utf-8")
