"""What the tests of the files in ``infra`` read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = INFRA / "Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = ("bot", "worker", "worker-gpu", "serving")  # targets of the Dockerfile
DIGEST = re.compile(r"^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$")


class Stage:
    """One stage of the Dockerfile: its name, what it stands on, and its instructions in order."""

    def __init__(self, name: str, base: str) -> None:
        self.name, self.base = name, base
        self.lines: list[tuple[str, str]] = []

    def said(self, instruction: str) -> list[str]:
        return [text for name, text in self.lines if name == instruction]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    stage = Stage("", "")
    for line in logical_lines(DOCKERFILE.read_text()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = found[name] = Stage(name, base)
        elif stage.name:
            stage.lines.append((instruction, rest.strip()))
    return found


def logical_lines(text: str) -> Iterator[str]:
    """Instructions with their continued lines, without comments."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in kept.replace("\\\n", " ").splitlines():
        if line.strip():
            yield " ".join(line.split())


def lineage(name: str) -> list[Stage]:
    """A stage and all that it stands on, itself first."""
    known = stages()
    found = [known[name]]
    while found[-1].base in known:
        found.append(known[found[-1].base])
    return found


def last(name: str, instruction: str) -> str:
    """What holds in an image: the nearest of its stages that says it."""
    return next(stage.said(instruction)[-1] for stage in lineage(name) if stage.said(instruction))


def environment(name: str) -> dict[str, str]:
    """The variables that an image sets."""
    found: dict[str, str] = {}
    for stage in reversed(lineage(name)):
        for text in stage.said("ENV"):
            found |= dict(part.split("=", 1) for part in text.split())
    return found
