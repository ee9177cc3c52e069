"""deploy.sh beside a stand-in for the cluster: the order of a roll-out, and that a migration that fails ends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.overlays import KUBERNETES

# Renders as the real one does; everything else is written down, and `wait` for the job ends as it is told.
STAND_IN = """#!/usr/bin/env bash
if [ "$1" = kustomize ]; then exec "$REAL" "$@"; fi
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
  *"wait job/almanac-migrate"*) exit "$MIGRATION" ;;
  *"get secret"*) exit 1 ;;
  *--from-env-file=/dev/stdin) cat > /dev/null ;;
esac
"""


def deployed(overlay: str, folder: Path, migration: int) -> tuple[int, list[str]]:
    real = shutil.which("kubectl")
    if real is None:
        pytest.skip("kubectl is not installed: overlays are not rendered here")
    program = folder / "kubectl"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    calls = folder / "calls"
    said = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}", "REAL": real, "CALLS": str(calls), "MIGRATION": str(migration),
    }  # fmt: skip
    done = subprocess.run(
        [KUBERNETES / "deploy.sh", overlay], env=said, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    return done.returncode, calls.read_text().splitlines()


def at(calls: list[str], part: str) -> int:
    return next(place for place, call in enumerate(calls) if part in call)


@pytest.mark.parametrize("overlay", ["local", "aws", "azure"])
def test_the_migration_is_waited_for_before_anything_is_rolled_out(overlay: str, tmp_path: Path) -> None:
    code, calls = deployed(overlay, tmp_path, 0)
    assert code == 0
    secrets = "create secret" if overlay == "local" else "wait externalsecret/almanac-web"
    before = ["base/namespace.yaml", secrets, "delete job", "policy, migrate)", "wait job"]
    order = [*before, "notin", "rollout status deployment"]
    places = [at(calls, part) for part in order]
    assert places == sorted(places)
    assert not any("password" in call.lower() or "postgresql://" in call for call in calls)


def test_after_a_migration_that_failed_nothing_else_is_changed(tmp_path: Path) -> None:
    code, calls = deployed("aws", tmp_path, 1)
    assert code == 1
    assert "logs job/almanac-migrate" in calls[-1]
    assert not any("notin" in call or "rollout status deployment" in call for call in calls)
