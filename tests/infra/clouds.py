"""Stand-ins for the programs that infra/install.sh calls: each call is written down, answered as the real one would,
and fails where it is told to. What they are called with is checked against the real programs where those are here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from tests.infra.files import INFRA
from tests.infra.tls import Authority

PROGRAMS = ("terraform", "kubectl", "kubelogin", "helm", "aws", "az", "docker", "curl")
STAND_IN = f"""#!{sys.executable} -IS
import json, os, pathlib, subprocess, sys
name, said = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
folder = pathlib.Path(os.environ["STAND_INS"])
line = " ".join([name, *said])
if name == "kubectl" and said[:1] == ["kustomize"]:
    sys.exit(subprocess.run([os.environ["KUBECTL"], *said]).returncode)
piped = sys.stdin.read() if "/dev/stdin" in line or said[-2:] == ["-f", "-"] or "--password-stdin" in said else None
files = [part.partition("file://")[2] for part in said if part.startswith("file://")]
files += [after for part, after in zip(said, said[1:]) if part == "--file" and name == "az"]
with (folder / "calls").open("a") as calls:
    read = [pathlib.Path(file).read_text() for file in files]
    calls.write(json.dumps({{"program": name, "said": said, "piped": piped, "files": read}}) + "\\n")
told = json.loads((folder / "answers").read_text())
for part, times in told["fails"].items():
    marker = folder / ("failed " + part.replace("/", "_"))
    before = len(marker.read_text()) if marker.exists() else 0
    if part in line and before < times:
        marker.write_text("x" * (before + 1))
        sys.exit(1)
for part, answer in told["answers"].items():
    if part in line:
        if name == "curl":
            pathlib.Path(said[said.index("--output") + 1]).write_text(answer)
        else:
            sys.stdout.write(answer)
        break
"""
SECRETS = {"username": "almanac_master", "password": "masters-own"}
URLS = {
    "ALMANAC_DATABASE_URL": "postgresql://almanac:hidden@db/almanac",
    "ALMANAC_READER_URL": "postgresql://r:hid@db/a",
}
OUTPUTS = {
    "backend": 'bucket = "almanac-state-111122223333"\n', "cluster": "almanac", "load_balancer": "lb.example.com",
    "settings": "ALMANAC_PUBLIC_URL=https://a.example\n", "database_address": "db.example.com",
    "database_host": "db.example.com", "database_master_secret": "arn:master", "registry": "almanacx7k2.azurecr.io",
    "vault": "https://almanac-x7k2.vault.azure.net/", "gateway_address": "203.0.113.9",
}  # fmt: skip


@dataclass
class Call:
    program: str
    said: list[str]
    piped: str | None
    files: list[str]

    @property
    def line(self) -> str:
        return " ".join([self.program, *self.said])


@dataclass
class Desk:
    """A copy of ``infra`` with a filled-in tfvars, and the stand-ins before everything else on the PATH."""

    folder: Path
    cloud: str
    fails: dict[str, int] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(INFRA, self.infra, ignore=shutil.ignore_patterns(".terraform", "*.tfvars", "install.done"))
        example = (INFRA / f"terraform/{self.cloud}/example.tfvars").read_text()
        (self.terraform / "almanac.tfvars").write_text(example)
        programs = self.folder / "programs"
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).write_text(STAND_IN)
            (programs / name).chmod(0o755)

    @property
    def infra(self) -> Path:
        return self.folder / "project/infra"

    @property
    def terraform(self) -> Path:
        return self.infra / "terraform" / self.cloud

    @property
    def done(self) -> list[str]:
        path = self.terraform / "install.done"
        return path.read_text().split() if path.exists() else []

    def run(self, *words: object, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """As in a shell without a terminal; ``calls`` are this run's own."""
        (self.folder / "calls").write_text("")
        (self.folder / "answers").write_text(json.dumps({"answers": self.answers | self._usual(), "fails": self.fails}))
        environment = {
            "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}", "HOME": str(self.folder), "TERM": "dumb",
            "STAND_INS": str(self.folder), "KUBECTL": shutil.which("kubectl") or "false", "ALMANAC_INSTALL_WAIT": "0",
            "TMPDIR": str(self.folder),
        }  # fmt: skip
        return subprocess.run(
            [self.infra / "install.sh", self.cloud, *map(str, words)], env=environment, cwd=self.folder, text=True,
            capture_output=True, input=typed or "", timeout=300, check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[Call]:
        return [Call(**json.loads(line)) for line in (self.folder / "calls").read_text().splitlines()]

    def called(self, part: str) -> list[Call]:
        return [call for call in self.calls if part in call.line]

    def _usual(self) -> dict[str, Any]:
        authority = Authority.make(self.folder)
        version = json.dumps({"clientVersion": {"gitVersion": "v1.32.4-dispatcher"}})
        usual = {
            "terraform version -json": json.dumps({"terraform_version": "1.11.4"}),
            "kubectl version --client": version,
            "helm version": "v3.17.0",
            "aws sts get-caller-identity": "111122223333\n",
            "aws eks describe-cluster": "vpc-1\n",
            "aws rds describe-certificates": authority.certificate.fingerprint(hashes.SHA1()).hex() + "\n",
            "aws secretsmanager get-secret-value --region eu-central-1 --secret-id arn:master": json.dumps(SECRETS),
            "aws secretsmanager get-secret-value --region eu-central-1 --secret-id almanac/database": json.dumps(URLS),
            "aws ecr get-login-password": "token-of-the-registry",
            "curl": authority.file.read_text(),
            "kubectl -n almanac get configmap almanac-authorities --output": authority.file.read_text(),
            "az account show": "00000000-0000-0000-0000-000000000000\n",
            "az keyvault secret show --vault-name almanac-x7k2 --name master": json.dumps(SECRETS),
            "az keyvault secret show --vault-name almanac-x7k2 --name database": json.dumps(URLS),
            "az storage account show": "/subscriptions/0/storage\n",
            "az ad signed-in-user show": "me-1\n",
            "output -json service_accounts": json.dumps({"external-secrets": "client-1"}),
        }
        committed = (INFRA / "kubernetes/overlays" / self.cloud / "values.env").read_text()
        values = "".join(line for line in committed.splitlines(keepends=True) if not line.startswith("VERSION="))
        return usual | {f"output -raw {name}": value for name, value in {**OUTPUTS, "values": values}.items()}
