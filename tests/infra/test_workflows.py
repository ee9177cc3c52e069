"""The workflows: narrow rights, actions by commit, no expressions in shells, and nothing named that is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
TARGETS = ["bot", "worker", "worker-gpu", "serving"]
WORKFLOWS = {path.name: path for path in sorted(FOLDER.glob("*.yml"))}


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text("utf-8"))
    loaded["on"] = loaded.pop(True)  # YAML 1.1 reads the word as a truth value
    return loaded


def steps(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for job, body in load(name)["jobs"].items():
        yield from ((job, step) for step in body["steps"])


def scripts() -> list[tuple[str, str]]:
    return [(name, step["run"]) for name in WORKFLOWS for _, step in steps(name) if "run" in step]


every = pytest.mark.parametrize("name", WORKFLOWS)


RELEASES = {"contents": "write", "id-token": "write", "attestations": "write"}  # release.yml's one job that signs


def test_there_are_five() -> None:
    assert set(WORKFLOWS) == {"ci.yml", "build.yml", "plan.yml", "deploy.yml", "release.yml"}


@every
def test_rights_are_narrow(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {"contents": "read"}
    for job, body in workflow["jobs"].items():
        rights = body.get("permissions", {"contents": "read"})
        allowed = [{"contents": "read"}, {"contents": "read", "id-token": "write"}]
        assert rights in ([*allowed, RELEASES] if (name, job) == ("release.yml", "publish") else allowed), job
        signs_in = any("login" in step.get("uses", "") + step.get("run", "") or "credentials" in step.get("uses", "")
                       for step in body["steps"])  # fmt: skip
        signs = any("cosign sign" in step.get("run", "") for step in body["steps"])
        assert ("id-token" in rights) == (signs_in or signs), job
        assert body["timeout-minutes"] <= 90


@every
def test_a_strangers_change_gets_no_identity(name: str) -> None:
    """What pull requests start either holds no identity, or runs for this repository's own branches only."""
    workflow = load(name)
    assert "pull_request_target" not in workflow["on"]
    if "pull_request" in workflow["on"]:
        for job, body in workflow["jobs"].items():
            if "id-token" in body.get("permissions", {}):
                own = "head.repo.full_name == github.repository" in body["if"]
                assert own or "github.event_name == 'push'" in body["if"], job


@every
def test_actions_are_commits(name: str) -> None:
    text = WORKFLOWS[name].read_text("utf-8")
    for line in re.findall(r"uses: (.+)", text):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+(;.*)?", line), line
    for _, step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_one_action_is_one_commit_everywhere() -> None:
    used = {
        match for path in WORKFLOWS.values() for match in re.findall(r"uses: ([^@]+)@(\w+)", path.read_text("utf-8"))
    }
    assert len({action for action, _ in used}) == len(used)


def test_no_expression_reaches_a_shell_and_no_secret_is_printed() -> None:
    """An expression is put into a script before the shell reads it: a branch's name could be a command."""
    assert len(scripts()) >= 12
    for name, script in scripts():
        assert "${{" not in script, name
        assert not re.search(r"set -x|echo .*(TOKEN|PASSWORD|SECRET|KEY)|printenv|^\s*env\s*$", script, re.M), name
    for path in WORKFLOWS.values():
        assert "secrets." not in path.read_text("utf-8")  # identities need none


def test_every_path_is_there() -> None:
    pattern = r"(?:^|[\s\"'/=])((?:infra|tests|\.github|\.venv/bin)/[\w./*-]+|requirements[\w-]*\.lock|pyproject\.toml)"
    for name, path in WORKFLOWS.items():
        for found in re.findall(pattern, re.sub(r"(?m)^\s*#.*$", "", path.read_text("utf-8"))):
            if found.startswith(".venv/") or found.endswith("/"):
                continue
            assert list(ROOT.glob(found)), f"{name}: {found}"


def test_scripts_are_shell() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not here")
    for name, script in scripts():
        done = subprocess.run([bash, "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_every_target_is_built_and_rolled_out() -> None:
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)", (ROOT / "infra" / "Dockerfile").read_text("utf-8")))
    assert set(TARGETS) <= stages
    build = load("build.yml")["jobs"]
    assert build["check"]["strategy"]["matrix"]["target"] == build["publish"]["strategy"]["matrix"]["target"] == TARGETS
    assert f"for target in {' '.join(TARGETS)}; do" in WORKFLOWS["deploy.yml"].read_text("utf-8")
    images = re.search(r"images += (\[.*\])", (ROOT / "infra" / "terraform" / "aws" / "main.tf").read_text("utf-8"))
    assert images is not None
    assert yaml.safe_load(images[1]) == TARGETS  # the registry has a repository for each


def test_images_are_scanned_before_they_are_published_with_their_origin() -> None:
    build = load("build.yml")["jobs"]
    scan = next(step for step in build["check"]["steps"] if "trivy-action" in step.get("uses", ""))
    assert scan["with"]["exit-code"] == "1"
    assert build["publish"]["needs"] == "check"
    push = next(step for step in build["publish"]["steps"] if step.get("id") == "build")
    assert push["with"]["push"] is True
    assert push["with"]["sbom"] is True
    assert push["with"]["provenance"] == "mode=max"


def test_a_roll_out_is_approved_verified_and_migrates_first() -> None:
    deploy = load("deploy.yml")
    assert deploy["on"] == {"push": {"tags": ["v*"]}}
    assert deploy["concurrency"]["cancel-in-progress"] is False
    job = deploy["jobs"]["deploy"]
    assert job["environment"]["name"] == "production"
    order = [step.get("run", "") for step in job["steps"]]
    verified = next(i for i, run in enumerate(order) if "cosign verify" in run)
    rolled = next(i for i, run in enumerate(order) if run.startswith("infra/kubernetes/deploy.sh"))
    undone = next(i for i, run in enumerate(order) if "rollout undo" in run)
    assert verified < rolled < undone
    written = next(i for i, run in enumerate(order) if "VERSION=sha-" in run)
    assert verified < written < rolled
    assert "sha-$GITHUB_SHA" in order[verified]
    script = (ROOT / "infra" / "kubernetes" / "deploy.sh").read_text("utf-8")
    assert script.index("almanac-migrate") < script.index("rollout status deployment")


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_what_terraform_tells_is_what_the_roll_out_asks_for(cloud: str) -> None:
    """``values`` of Terraform and values.env of the overlay have the same keys; VERSION is the release's."""
    outputs = (ROOT / "infra" / "terraform" / cloud / "outputs.tf").read_text("utf-8")
    told = re.search(r"\n  values = \{(.*?)\n  \}", outputs, re.S)
    assert told is not None
    asked = (ROOT / "infra" / "kubernetes" / "overlays" / cloud / "values.env").read_text("utf-8")
    keys = set(re.findall(r"(?m)^(\w+)=", asked))
    assert set(re.findall(r"(?m)^    (\w+) +=", told[1])) == keys - {"VERSION"}


def test_plans_change_nothing() -> None:
    job = load("plan.yml")["jobs"]["plan"]
    text = " ".join(step.get("run", "") for step in job["steps"])
    assert "-refresh=false" in text
    assert "-lock=false" in text
    for name, script in scripts():
        assert "terraform apply" not in script, name
        assert " apply " not in script or "kubectl" in script, name


def test_the_variables_are_said_at_the_top() -> None:
    for name, path in WORKFLOWS.items():
        text = path.read_text("utf-8")
        head = text[: text.index("\nname: ")]
        for variable in set(re.findall(r"vars\.(\w+)", text)):
            assert re.search(rf"\b{variable}\b", head), f"{name}: {variable}"


def test_terraform_is_of_one_version() -> None:
    versions = {
        v for path in WORKFLOWS.values() for v in re.findall(r'terraform_version: "(.+)"', path.read_text("utf-8"))
    }
    assert len(versions) == 1
