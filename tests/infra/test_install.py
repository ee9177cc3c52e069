"""infra/install.sh beside stand-ins for the clouds: what is done in which order, and what a failure leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.clouds import Call, Desk
from tests.infra.files import INFRA, OURS

STEPS = {
    "aws": ["state", "cloud", "cluster", "authorities", "addons", "database", "secrets", "images", "rollout", "check"],
    "azure": ["state", "cloud", "cluster", "addons", "database", "secrets", "images", "rollout", "check"],
}
# A call of each step, in the order in which they have to come.
ORDER = {
    "aws": [
        "/state apply", "terraform/aws plan", "install.tfplan", "eks update-kubeconfig",
        "create configmap almanac-authorities", "keda --repo", "apply -f", "wait job/bootstrap",
        "docker login", "docker buildx", "wait job/almanac-migrate", "rollout status", "almanac check",
    ],
    "azure": [
        "storage account create", "storage container create", "terraform/azure plan", "install.tfplan",
        "aks get-credentials", "kubelogin convert-kubeconfig", "external-secrets --repo", "wait job/bootstrap",
        "acr login", "docker buildx", "wait job/almanac-migrate", "rollout status", "almanac check",
    ],
}  # fmt: skip
NOT_THERE = {"aws": "ecr describe-images", "azure": "acr manifest"}  # images, until they are pushed
BOTH = pytest.mark.parametrize("cloud", ["aws", "azure"])


def prepared(folder: Path, cloud: str) -> Desk:
    if shutil.which("kubectl") is None or shutil.which("jq") is None:
        pytest.skip("kubectl or jq is not here")
    return Desk(folder, cloud, fails={NOT_THERE[cloud]: 99})


@pytest.fixture
def desk(tmp_path: Path, cloud: str) -> Desk:
    return prepared(tmp_path, cloud)


def secrets(folder: Path, mode: int = 0o600, **said: dict[str, str]) -> Path:
    path = folder / "secrets.json"
    path.write_text(json.dumps(said))
    path.chmod(mode)
    return path


@dataclass
class Whole:
    """An installation from the beginning to the end."""

    desk: Desk
    done: subprocess.CompletedProcess[str]
    calls: list[Call]

    def called(self, part: str) -> list[Call]:
        return [call for call in self.calls if part in call.line]


@pytest.fixture(scope="module", params=["aws", "azure"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    desk = prepared(tmp_path_factory.mktemp(request.param), request.param)
    file = secrets(desk.folder, slack={"SLACK_BOT_TOKEN": "xoxb-secret"}, model={"ALMANAC_LLM_API_KEY": "sk-secret"})
    mine = desk.folder / "mine.env"
    mine.write_text("ALMANAC_ADMINS=slack:T1:U1\n")
    done = desk.run("--yes", "--secrets", file, "--settings", mine, "--version", "1.2.3")
    assert done.returncode == 0, done.stderr
    return Whole(desk, done, desk.calls)


def test_one_command_does_all_of_it_in_order(whole: Whole) -> None:
    cloud, lines = whole.desk.cloud, [call.line for call in whole.calls]
    places: list[int] = []
    for part in ORDER[cloud]:
        after = places[-1] + 1 if places else 0
        places.append(next(at for at, line in enumerate(lines) if at >= after and part in line))
    assert re.findall(r"^== (\w+)$", whole.done.stderr, re.M) == STEPS[cloud]
    assert whole.desk.done == []  # all of it is done: the next time begins anew
    assert "https://almanac.example.com/" in whole.done.stderr


def test_images_and_settings_are_those_that_were_asked_for(whole: Whole) -> None:
    pushed = [re.search(r"--target (\S+) .*--tag (\S+)", call.line) for call in whole.called("docker buildx build")]
    assert [it and it[1] for it in pushed] == list(OURS)
    assert all(it and it[2].endswith(f"/almanac/{it[1]}:1.2.3") for it in pushed)
    overlay = whole.desk.infra / "kubernetes/overlays" / whole.desk.cloud
    assert "VERSION=1.2.3\n" in (overlay / "values.env").read_text()
    assert (overlay / "settings.env").read_text().endswith("ALMANAC_ADMINS=slack:T1:U1\n")


def test_secrets_go_from_file_to_store_and_show_nowhere(whole: Whole) -> None:
    put = whole.called("put-secret-value" if whole.desk.cloud == "aws" else "keyvault secret set")
    brought = [json.loads(text) for call in put for text in call.files]
    assert brought == [{"ALMANAC_LLM_API_KEY": "sk-secret"}, {"SLACK_BOT_TOKEN": "xoxb-secret"}]
    everything = " ".join(call.line for call in whole.calls) + whole.done.stdout + whole.done.stderr
    for secret in ("xoxb-secret", "sk-secret", "masters-own", "hidden", "token-of-the-registry"):
        assert secret not in everything
    assert [path for path in whole.desk.folder.glob("tmp.*") if path.is_file()] == []


def test_the_database_is_begun_as_its_master_who_asks_whom_it_talks_to(whole: Whole) -> None:
    [boot] = whole.called("create secret generic bootstrap")
    assert boot.piped is not None
    given = dict(line.split("=", 1) for line in boot.piped.splitlines())
    assert (given["PGUSER"], given["PGPASSWORD"]) == ("almanac_master", "masters-own")
    assert (given["PGHOST"], given["PGSSLMODE"]) == ("db.example.com", "verify-full")
    assert given["ALMANAC_DATABASE_URL"].startswith("postgresql://")
    [mounted] = whole.called("create configmap bootstrap")
    assert f"--from-file={Path(given['PGSSLROOTCERT']).name}=" in mounted.line


def test_real_programs_know_every_word(whole: Whole) -> None:
    """Of those that are here: each flag of each call stands in the program's own help."""
    seen = 0
    for call in whole.calls:
        real = shutil.which(call.program)
        if real is None or call.program not in ("terraform", "kubectl"):
            continue
        words = [word for word in call.said if not word.startswith("-chdir=")]
        words = words[2:] if words[:1] == ["-n"] else words
        words = words[: words.index("--")] if "--" in words else words
        command = words[: 3 if words[:2] == ["create", "secret"] else 2 if words[0] in ("create", "rollout") else 1]
        flags = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        unknown = {flag for flag in flags if not known(real, call.program, tuple(command), flag)}
        assert not unknown, (call.line, unknown)
        seen += len(flags)
    assert seen > 20


@pytest.mark.parametrize(
    ("cloud", "part"),
    [("aws", "wait job/bootstrap"), ("aws", "docker buildx build"), ("azure", "wait job/almanac-migrate")],
)
def test_what_breaks_off_goes_on_from_there(desk: Desk, cloud: str, part: str) -> None:
    desk.fails[part] = 1
    broken = desk.run("--yes")
    assert broken.returncode != 0
    step = {"wait job/bootstrap": "database", "docker buildx build": "images"}.get(part, "rollout")
    assert desk.done == STEPS[cloud][: STEPS[cloud].index(step)]
    again = desk.run()  # nobody has to say yes again to what is being paid for already
    assert again.returncode == 0, again.stderr
    assert not desk.called("install.tfplan")
    assert "state: done before" in again.stderr
    assert desk.called("almanac check")
    assert desk.done == []


@BOTH
def test_a_role_that_is_not_believed_in_yet_is_waited_for_once(desk: Desk, cloud: str) -> None:
    desk.fails["apply -input=false install.tfplan"] = 1
    assert desk.run("--yes", "--only", "cloud").returncode == 0
    assert len(desk.called("plan -input=false")) == len(desk.called("apply -input=false install.tfplan")) == 2
    desk.fails["apply -input=false install.tfplan"] = 3
    (desk.folder / "failed apply -input=false install.tfplan").unlink()
    broken = desk.run("--yes")
    assert broken.returncode == 1
    assert "failed twice" in broken.stderr
    assert desk.done == ["state"]
    assert not desk.called("helm upgrade")


@BOTH
def test_images_that_are_there_are_not_built_again(desk: Desk, cloud: str) -> None:
    del desk.fails[NOT_THERE[cloud]]
    assert desk.run("--only", "images").returncode == 0
    assert not desk.called("docker buildx")
    assert len(desk.called(NOT_THERE[cloud])) == len(OURS)


@BOTH
def test_a_plan_changes_nothing(desk: Desk, cloud: str) -> None:
    done = desk.run("--plan")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  (\w+) ", done.stdout, re.M) == STEPS[cloud]
    table = (INFRA / "terraform/README.md").read_text().split("\n\n")
    small = [re.search(r"\*\*sum\*\* \| \*\*([\d.]+)\*\*", part) for part in table]
    sums = [found[1] for found in small if found]
    assert f"about {sums[0] if cloud == 'aws' else sums[1]} US dollars a month" in done.stdout
    changing = re.compile(
        r"\b(apply|create|delete|put-secret-value|upgrade|buildx|destroy|set|login|update-kubeconfig)\b"
    )
    assert not [call.line for call in desk.calls if changing.search(call.line)]
    (desk.terraform / "state.config").write_text("")
    assert desk.run("--plan").returncode == 0
    [plan] = desk.called(" plan ")
    assert "-lock=false" in plan.said
    assert desk.done == []


@BOTH
def test_nobody_pays_without_being_asked(desk: Desk, cloud: str) -> None:
    done = desk.run()
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert not desk.called(" apply ")


@BOTH
def test_it_can_be_taken_down(desk: Desk, cloud: str) -> None:
    refused = desk.run("--destroy")
    assert refused.returncode == 1
    assert not desk.called("destroy")
    done = desk.run("--destroy", "--yes")
    assert done.returncode == 0, done.stderr
    lines = [call.line for call in desk.calls]
    freed = next(at for at, line in enumerate(lines) if "delete namespace almanac" in line)
    gone = next(at for at, line in enumerate(lines) if " destroy " in line)
    assert freed < gone
    if cloud == "aws":
        unprotected = next(at for at, line in enumerate(lines) if "deletion_protection=false" in line)
        assert freed < unprotected < gone


@pytest.mark.parametrize("cloud", ["aws"])
def test_the_wrong_account_is_noticed_before_anything(desk: Desk, cloud: str) -> None:
    desk.answers = {"aws sts": "999988887777\n"}
    desk.terraform.joinpath("almanac.tfvars").write_text('account_id = "444455556666"\ndomain = "a.example"\n')
    done = desk.run("--yes")
    assert done.returncode == 1
    assert "444455556666" in done.stderr
    assert [call.program for call in desk.calls if call.program not in ("terraform", "kubectl", "helm")] == ["aws"]


@pytest.mark.parametrize("cloud", ["aws"])
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"mode": 0o644, "slack": {"A": "b"}}, "can be read by others"),
        ({"mode": 0o600, "slak": {"A": "b"}}, "slak"),
        ({"mode": 0o600, "slack": {"A": 1}}, "objects of strings"),
    ],
)
def test_a_file_of_secrets_that_cannot_be_is_refused(desk: Desk, cloud: str, said: dict, sentence: str) -> None:  # type: ignore[type-arg]
    done = desk.run("--yes", "--secrets", secrets(desk.folder, **said))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert desk.calls == []


@pytest.mark.parametrize("cloud", ["aws"])
def test_programs_that_are_old_are_named(desk: Desk, cloud: str) -> None:
    program = desk.folder / "programs/terraform"
    program.write_text('#!/bin/sh\necho \'{"terraform_version": "1.5.7"}\'\n')
    done = desk.run("--yes")
    assert done.returncode == 1
    assert "1.11 or newer is needed, this is 1.5.7" in done.stderr


@BOTH
def test_programs_that_are_missing_are_named(desk: Desk, cloud: str) -> None:
    missing = {"aws": "helm", "azure": "kubelogin"}[cloud]
    (desk.folder / "programs" / missing).unlink()
    if shutil.which(missing) is not None:
        pytest.skip(f"{missing} is here")
    done = desk.run("--yes")
    assert done.returncode == 1
    assert f"not here: {missing}." in done.stderr
    assert desk.calls == []


@BOTH
def test_one_step_alone(desk: Desk, cloud: str) -> None:
    assert desk.run("--only", "database").returncode == 0
    assert desk.called("wait job/bootstrap")
    assert not desk.called("install.tfplan")
    assert "There is no step nonsense" in desk.run("--only", "nonsense").stderr


def test_the_scripts_are_whole_shell() -> None:
    scripts = [INFRA / "install.sh", *(INFRA / "install").glob("*.sh")]
    for script in scripts:
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
        assert len(script.read_text().splitlines()) < 300
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here")
    everything = [*scripts, *(INFRA / "kubernetes").glob("*.sh"), INFRA / "prometheus/alertmanager.sh"]
    done = subprocess.run(
        ["shellcheck", "-x", *everything], cwd=INFRA.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


HELP: dict[tuple[str, ...], str] = {}


def known(real: str, program: str, command: tuple[str, ...], flag: str) -> bool:
    key = (program, *command)
    if key not in HELP:
        words = [*command, "-help"] if program == "terraform" else [*command, "--help"]
        HELP[key] = subprocess.run([real, *words], capture_output=True, text=True, timeout=60, check=False).stdout
        if program == "kubectl":
            HELP[key] += subprocess.run([real, "options"], capture_output=True, text=True, check=False).stdout
    return re.search(rf"(?:^|[\s,]){re.escape(flag)}(?:[=\s,:]|$)", HELP[key], re.M) is not None
