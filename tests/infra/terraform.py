"""Runs ``terraform test`` on the AWS installation, offline, and reads the plans that it made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "infra" / "terraform" / "aws"


class Absent(Exception):
    """What is needed is not here; the message says what."""


@dataclass(frozen=True)
class Plan:
    """What a run would make: ``changes`` by address, each (type, values); ``unknown``: what the apply will tell."""

    changes: dict[str, tuple[str, dict[str, Any]]]
    unknown: dict[str, dict[str, Any]]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        return {address: values for address, (type_, values) in self.changes.items() if type_ == kind}

    def given(self, address: str, name: str) -> bool:
        """Whether an argument has a value, known or not."""
        return bool(self.changes[address][1].get(name)) or self.unknown[address].get(name) is True

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(address, statement) of every policy: those that are written out, and those that wait for an ARN."""
        for address, (kind, values) in self.changes.items():
            if kind == "aws_iam_policy_document":
                yield from ((address, _plain(statement)) for statement in values["statement"])
            for name in ("policy", "assume_role_policy"):
                text = values.get(name)
                if isinstance(text, str) and text.startswith("{") and "Statement" in text:
                    statements = json.loads(text)["Statement"]
                    yield from ((address, statement) for statement in statements)


@dataclass
class Outcome:
    """``runs``: name -> pass or fail; ``faults``: what failed, in words; ``plans`` by the name of their run."""

    runs: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)


def environment(data: Path) -> dict[str, str]:
    """For Terraform without a network, a configuration of the user's, or traces in the folder. Raises Absent."""
    if shutil.which("terraform") is None:
        raise Absent("terraform is not here")
    usual = (
        place / "tf-plugins" for place in (Path("/opt"), Path("/usr/share"), Path("/usr/local/share"), Path.home())
    )
    plugins = os.environ.get("TF_PLUGIN_DIR") or str(next((place for place in usual if place.is_dir()), ""))
    if not Path(plugins or "-").is_dir():
        raise Absent(
            "TF_PLUGIN_DIR names no folder with the AWS provider, and none named tf-plugins is where it would be"
        )
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {
        "TF_DATA_DIR": str(data), "TF_PLUGIN_DIR": plugins, "TF_CLI_CONFIG_FILE": os.devnull,
        "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def terraform(*arguments: str, env: dict[str, str], folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["terraform", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900
    )


def initialise(env: dict[str, str], folder: Path = FOLDER) -> None:
    done = terraform(
        "init", "-backend=false", "-input=false", "-lockfile=readonly", "-no-color",
        f"-plugin-dir={env['TF_PLUGIN_DIR']}", env=env, folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def run_tests(env: dict[str, str]) -> Outcome:
    done = terraform("test", "-json", "-verbose", env=env)
    outcome = Outcome()
    for line in done.stdout.splitlines():
        message = json.loads(line)
        match message.get("type"):
            case "test_run" if message["test_run"]["progress"] == "complete":
                outcome.runs[message["@testrun"]] = message["test_run"]["status"]
            case "diagnostic" if message["diagnostic"]["severity"] == "error":
                outcome.faults.append(f"{message.get('@testrun')}: {message['diagnostic'].get('detail')}")
            case "test_plan":
                outcome.plans[message["@testrun"]] = _plan(message["test_plan"].get("resource_changes", []))
    return outcome


def _plan(changes: list[dict[str, Any]]) -> Plan:
    return Plan(
        {change["address"]: (change["type"], change["change"]["after"] or {}) for change in changes},
        {change["address"]: change["change"].get("after_unknown") or {} for change in changes},
    )


def _plain(statement: dict[str, Any]) -> dict[str, Any]:
    """A statement of a policy document as JSON has it."""
    return {
        "Effect": statement["effect"] or "Allow", "Action": statement["actions"], "Resource": statement["resources"],
        "Principal": statement["principals"], "Sid": statement["sid"],
    }  # fmt: skip
