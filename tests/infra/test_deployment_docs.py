"""docs/deploy.md and what it leans on: links, outputs, scripts, and rights that cover what is rolled out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.azurerm import Root, unquoted

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "deploy.md", ROOT / "infra" / "terraform" / "README.md"]
BOOTSTRAP = ROOT / "infra" / "terraform" / "bootstrap"
CORE = {"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "policy/v1"}


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)(?:#([\w-]+))?\)", page.read_text("utf-8"))
    assert links
    for path, anchor in links:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_outputs_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"(?<![\w/])((?:infra|tests|docs|\.github)/[\w./-]*\w)", text):
        made = path.endswith(("state.config", "almanac.tfvars"))
        assert made or (ROOT / path).exists(), path
    outputs = "".join(
        (ROOT / "infra" / "terraform" / cloud / "outputs.tf").read_text("utf-8") for cloud in ("aws", "azure")
    )
    for name in re.findall(r"output (?:-raw |-json )?(\w+)", text):
        known = f'output "{name}"' in outputs or name in ("backend", "tsv", "text")
        assert known, name


def test_settings_that_are_named_are_settings() -> None:
    known = set(re.findall(r"(?m)^(\w+)=", (ROOT / ".env.example").read_text("utf-8")))
    for page in PAGES:
        named = set(re.findall(r"\b(ALMANAC_\w+|SLACK_\w+|MicrosoftApp\w+)\b", page.read_text("utf-8")))
        assert named <= known


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_the_example_says_all_that_has_no_default(cloud: str) -> None:
    root = Root(ROOT / "infra" / "terraform" / cloud)
    given = set(
        re.findall(r"(?m)^(\w+) +=", (ROOT / "infra" / "terraform" / cloud / "example.tfvars").read_text("utf-8"))
    )
    blocks = [block for file in root.files.values() for block in file.get("variable", [])]
    bodies = {unquoted(name): body for block in blocks for name, body in block.items()}
    assert given <= set(bodies)
    assert {name for name, body in bodies.items() if "default" not in body} <= given


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_who_rolls_out_may_change_all_that_is_rolled_out(cloud: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here")
    done = subprocess.run(
        [kubectl, "kustomize", str(ROOT / "infra" / "kubernetes" / "overlays" / cloud)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    roles = {role["metadata"]["name"]: role for role in yaml.safe_load_all((BOOTSTRAP / "deployers.yaml").read_text())}
    allowed = {
        (group, resource)
        for role in roles.values()
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    extra = [it for it in yaml.safe_load_all(done.stdout) if it["apiVersion"] not in CORE]
    assert len(extra) > 8
    for it in extra:
        assert (it["apiVersion"].split("/")[0], it["kind"].lower() + "s") in allowed, it["kind"]
    for rule in roles["almanac-deployer-store"]["rules"]:
        assert rule["resourceNames"] == ["almanac"]
    assert not [rule for role in roles.values() for rule in role["rules"] if "*" in rule["verbs"]]


def test_the_first_job_runs_without_rights() -> None:
    job = yaml.safe_load((BOOTSTRAP / "job.yaml").read_text("utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["command"][-1].endswith("/database.sql")
    labels = job["spec"]["template"]["metadata"]["labels"]
    policies = yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "base" / "network-policies.yaml").read_text("utf-8"))
    migrate = next(it for it in policies if it["metadata"]["name"] == "migrate")
    assert migrate["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
