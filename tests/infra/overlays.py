"""What `kubectl kustomize` makes of the folders in ``infra/kubernetes``, and how tests look at it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.files import INFRA

KUBERNETES = INFRA / "kubernetes"
OVERLAYS = ("local", "aws", "aws-vllm", "azure")
VERSION = "1.33"
CUSTOM = {
    "external-secrets.io/v1", "keda.sh/v1alpha1", "elbv2.k8s.aws/v1beta1", "azmonitoring.coreos.com/v1",
    "monitoring.coreos.com/v1",
}  # fmt: skip
Resource = dict[str, Any]


@cache
def rendered(folder: Path) -> tuple[Resource, ...]:
    """What `kubectl kustomize` makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: overlays are not rendered here")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Resource, ...]:
    return rendered(KUBERNETES / "overlays" / name)


def of_kind(resources: tuple[Resource, ...], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def named(resources: tuple[Resource, ...], kind: str, name: str) -> Resource:
    return next(it for it in of_kind(resources, kind) if it["metadata"]["name"] == name)


def pods(resources: tuple[Resource, ...]) -> Iterator[tuple[Resource, Resource]]:
    """Each workload with its pod."""
    for resource in of_kind(resources, "Deployment", "StatefulSet", "Job"):
        yield resource, resource["spec"]["template"]


def selected(labels: dict[str, str], selector: Resource) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(
        labels.get(said["key"]) in said["values"]
        for said in selector.get("matchExpressions", ())
        if said["operator"] == "In"
    )
