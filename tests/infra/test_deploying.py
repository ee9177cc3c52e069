"""deploy.sh beside a stand-in for the cluster: the order of a roll-out, and that a migration that fails ends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from tests.infra.overlays import KUBERNETES
from tests.infra.tls import Authority

# Renders as the real one does; everything else is written down, and `wait` for the job ends as it is told.
STAND_IN = """#!/usr/bin/env bash
if [ "$1" = kustomize ]; then exec "$REAL" "$@"; fi
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
  *"${MISSING:--}"*) [ "${MISSING:--}" = - ] || exit 1 ;;&
  *"wait job/almanac-migrate"*) exit "$MIGRATION" ;;
  *"get secret"*) exit 1 ;;
  *--from-env-file=/dev/stdin) cat > /dev/null ;;
esac
"""


def deployed(overlay: str, folder: Path, migration: int, missing: str = "-") -> tuple[int, list[str]]:
    real = shutil.which("kubectl")
    if real is None:
        pytest.skip("kubectl is not installed: overlays are not rendered here")
    program = folder / "kubectl"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    calls = folder / "calls"
    said = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}", "REAL": real, "CALLS": str(calls), "MIGRATION": str(migration),
        "MISSING": missing,
    }  # fmt: skip
    done = subprocess.run(
        [KUBERNETES / "deploy.sh", overlay], env=said, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    return done.returncode, calls.read_text().splitlines()


# Amazon's certificates and what its API names; both are the test's own.
CURL = """#!/usr/bin/env bash
printf 'curl %s\\n' "$*" >> "$CALLS"
while [ $# -gt 0 ]; do [ "$1" != --output ] || cp "$BUNDLE" "$2"; shift; done
"""
AWS = """#!/usr/bin/env bash
printf 'aws %s\\n' "$*" >> "$CALLS"
printf '%s\\n' "$THUMBPRINT"
"""


def brought(folder: Path, thumbprint: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    ours, others = Authority.make(folder), Authority.make(folder, "others")
    bundle = folder / "bundle.pem"
    bundle.write_bytes(others.file.read_bytes() + ours.file.read_bytes())
    for name, text in (("kubectl", STAND_IN), ("curl", CURL), ("aws", AWS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    known = thumbprint or ours.certificate.fingerprint(hashes.SHA1()).hex().upper()
    said = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder / "calls"), "BUNDLE": str(bundle),
        "THUMBPRINT": known, "REAL": "true", "MIGRATION": "0",
    }  # fmt: skip
    command = [KUBERNETES / "authorities.sh", "eu-central-1"]
    done = subprocess.run(command, env=said, capture_output=True, text=True, timeout=60, check=False)
    return done, (folder / "calls").read_text().splitlines()


def test_who_vouches_for_the_database_is_asked_in_two_places(tmp_path: Path) -> None:
    done, calls = brought(tmp_path, "")
    assert done.returncode == 0, done.stderr
    [fetched] = [call for call in calls if call.startswith("curl")]
    assert "--proto =https" in fetched
    assert fetched.endswith("https://truststore.pki.rds.amazonaws.com/eu-central-1/eu-central-1-bundle.pem")
    named = (KUBERNETES.parent / "terraform/modules/aws/database/main.tf").read_text()
    authority = re.search(r'ca_cert_identifier += "([\w-]+)"', named)
    assert authority is not None
    assert f"--certificate-identifier {authority[1]} " in next(call for call in calls if call.startswith("aws"))
    assert [call.split()[1] for call in calls if "create configmap almanac-authorities" in call] == ["almanac", "keda"]


def test_certificates_that_the_account_does_not_know_are_not_believed(tmp_path: Path) -> None:
    done, calls = brought(tmp_path, "ab" * 20)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert not any("configmap" in call for call in calls)


def test_without_them_nothing_is_rolled_out(tmp_path: Path) -> None:
    code, calls = deployed("aws", tmp_path, 0, missing="get configmap almanac-authorities")
    assert code == 1
    assert not any("almanac-migrate" in call for call in calls)
    assert deployed("azure", tmp_path, 0, missing="get configmap almanac-authorities")[0] == 0  # the images have them


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
