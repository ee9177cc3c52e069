"""OWASP Top 10 for LLM applications 2025: LLM03 Supply Chain. What Almanac is made of, and what leaves as Almanac."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.audit import keys
from infra.release import build

ROOT = Path(__file__).parents[2]
PRODUCT = ("assistant", "bot", "workers", "migrations")
PICKLES = frozenset({"pickle", "cPickle", "marshal", "shelve", "dill", "joblib"})
LOCKS = ("requirements.lock", "requirements-learn.lock")


def tracked(*folders: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z", "--", *folders], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no git checkout")
    return [name for name in done.stdout.decode().split("\0") if name]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text("utf-8"))
    return found


def script(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


# what it is made of


@pytest.mark.parametrize("lock", LOCKS)
def test_llm03_every_package_is_one_version(lock: str) -> None:
    lines = [line for line in (ROOT / lock).read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[\w.!+-]+", line)] == []


def test_llm03_images_and_tools_are_what_they_were_when_they_were_chosen() -> None:
    """Base images and those that are not ours by digest, tools by version, downloads by checksum."""
    dockerfile = (ROOT / "infra" / "Dockerfile").read_text("utf-8")
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)", dockerfile))
    for image in re.findall(r"(?m)^FROM (\S+)", dockerfile):
        assert image in stages or "@sha256:" in image or image.startswith("$"), image
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for name, service in composed.items():
        assert "build" in service or "@sha256:" in service["image"], name
    for line in (ROOT / "infra" / "audit" / "tools.txt").read_text("utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[\d.]+", line), line
    audit = script(workflow("ci.yml")["jobs"]["audit"])
    assert audit.index("sha256sum --check --strict") < audit.index("tar -xzf") < audit.index('gitleaks" git')
    assert re.search(r"rhysd/actionlint:\S+@sha256:[0-9a-f]{64}", audit)


def test_llm03_nothing_is_unpickled_and_no_model_brings_code() -> None:
    """A model, a cache, a message in a queue: what comes from outside is data."""
    wrong = []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wrong += [f"{name}: {alias.name}" for alias in node.names if alias.name in PICKLES]
            if isinstance(node, ast.ImportFrom) and node.module in PICKLES:
                wrong.append(f"{name}: {node.module}")
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in ("torch.load", "eval", "exec", "os.system") or given.get("shell") == "True":
                wrong.append(f"{name}: {called}")
            if called in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                wrong.append(f"{name}: {called}")
            loads = called.endswith(".from_pretrained") and not called.startswith("PeftModel")  # the registry's files
            if (loads or called in ("SentenceTransformer", "CrossEncoder")) and given.get("local_files_only") != "True":
                wrong.append(f"{name}: {called}")
            if "trust_remote_code" in given:
                wrong.append(f"{name}: trust_remote_code")
    assert wrong == []


# what leaves


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The release of the current commit, by the command of release.yml."""
    tracked("pyproject.toml")
    out = tmp_path_factory.mktemp("release")
    command = [sys.executable, "infra/release/build.py", "--tag", f"v{build.version()}", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_llm03_the_wheel_holds_all_that_git_has_of_the_packages(built: dict[str, bytes], tmp_path: Path) -> None:
    [wheel] = [name for name in built if name.endswith(".whl")]
    (tmp_path / wheel).write_bytes(built[wheel])
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        inside = set(archive.namelist())
    left_out = (".ipynb", ".png")  # of the lessons, which show them on GitHub
    committed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *PRODUCT, "ml"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    wanted = {
        name for name in committed.split("\0") if name and not (name.startswith("ml/") and name.endswith(left_out))
    }
    assert wanted - inside == set()
    strangers = {name for name in inside - wanted if ".dist-info/" not in name}
    assert strangers == set()


def test_llm03_an_almanac_of_the_wheel_alone_finds_its_parts(built: dict[str, bytes], tmp_path: Path) -> None:
    """Migrations, texts, pages and models come from the wheel, and not from a folder that is beside it by chance."""
    [wheel] = [name for name in built if name.endswith(".whl")]
    (tmp_path / wheel).write_bytes(built[wheel])
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        archive.extractall(tmp_path / "installed")
    asked = (
        "import sys, pathlib; here = sys.argv[1];"
        "sys.meta_path = [it for it in sys.meta_path if 'ditable' not in str(it)];"
        "sys.path.insert(0, here); import bot.terminal, assistant.database.migrate as m, assistant.strings as s;"
        "from bot.web.assets import Assets; from assistant.guardrails import injection; import json;"
        "assert all(pathlib.Path(x.__file__).is_relative_to(here) for x in (bot.terminal, m, s, injection));"
        "print(json.dumps([m.head(), len(s.catalogue('slack')), 'app.js' in Assets.load()._files]));"
        "sys.argv = ['almanac', '--help']; bot.terminal.main()"
    )
    command = [sys.executable, "-P", "-c", asked, str(tmp_path / "installed")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    head, languages, page = json.loads(done.stdout.splitlines()[0])
    versions = {re.split("_", path.name)[0] for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py")}
    assert head in versions
    assert (languages, page) == (4, True)
    assert "Usage: almanac" in done.stdout


def test_llm03_a_release_is_the_same_bytes_for_everybody(built: dict[str, bytes]) -> None:
    sums = dict(line.split("  ")[::-1] for line in built["SHA256SUMS"].decode().splitlines())
    assert set(sums) == set(built) - {"SHA256SUMS"}
    assert all(hashlib.sha256(built[name]).hexdigest() == value for name, value in sums.items())
    [name] = [name for name in built if name.endswith(".tar.gz")]
    again = build.repacked(built[name], 1_700_000_000)
    assert again != built[name]  # another time
    assert build.repacked(again, int.from_bytes(built[name][4:8], "little")) == built[name]


def test_llm03_nobody_and_no_clock_is_in_the_archive(built: dict[str, bytes], tmp_path: Path) -> None:
    [name] = [name for name in built if name.endswith(".tar.gz")]
    (tmp_path / name).write_bytes(built[name])
    with tarfile.open(tmp_path / name) as archive:
        members = archive.getmembers()
    assert len({member.mtime for member in members}) == 1
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}
    assert [member.name for member in members] == sorted(member.name for member in members)


def test_llm03_a_wrong_tag_builds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "infra" / "release" / "build.py"), "--tag", "v999.0.0", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert build.version() in done.stderr
    assert not (tmp_path / "out").exists()


def test_llm03_what_builds_cannot_sign_and_what_signs_builds_nothing() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert "permissions" not in jobs["build"]  # those of the whole: read
    assert workflow("release.yml")["permissions"] == {"contents": "read"}
    assert jobs["publish"]["needs"] == "build"
    signs = {"contents": "write", "id-token": "write", "attestations": "write"}
    assert jobs["publish"]["permissions"] == signs
    assert "checkout" not in json.dumps(jobs["publish"])
    made, published = script(jobs["build"]), script(jobs["publish"])
    assert made.index("merge-base --is-ancestor") < made.index("infra/release/build.py") < made.index("cyclonedx-py")
    assert "diff --recursive" in made
    assert published.index("cosign sign-blob") < published.index("gh release create")
    uses = [step.get("uses", "") for step in jobs["publish"]["steps"]]
    assert any(it.startswith("actions/attest-build-provenance@") for it in uses)


# secrets


def test_a_key_that_is_new_is_found_and_one_that_is_known_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made_up = "".join(chr(97 + int(digit, 16)) for digit in hashlib.sha256(str(tmp_path).encode()).hexdigest())[:36]
    Path("deploy.py").write_text(f"TOKEN = 'ghp_{made_up}'\n")
    Path("plain.py").write_text("TOKEN = os.environ['TOKEN']\n")
    [secret] = {(it.filename, it.type) for it in keys.found(["deploy.py", "plain.py"]) if "GitHub" in it.type}
    assert secret == ("deploy.py", "GitHub Token")


def test_the_baseline_names_only_files_that_are_there() -> None:
    document = json.loads((ROOT / ".secrets.baseline").read_text("utf-8"))
    files = set(tracked())
    assert set(document["results"]) <= files
    assert all(row["is_secret"] is False for rows in document["results"].values() for row in rows)


def test_commits_and_changes_are_looked_through() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    [secrets] = [hook for hook in hooks if hook["id"] == "secrets"]
    assert "infra/audit/keys.py" in secrets["entry"]
    assert "types" not in secrets  # all files
    audit = workflow("ci.yml")["jobs"]["audit"]
    assert "make audit\n" in script(audit) + "\n"
    assert "make audit-packages" in script(audit)
    assert audit["steps"][0]["with"]["fetch-depth"] == 0
    allowed = tomllib.loads((ROOT / ".gitleaks.toml").read_text("utf-8"))
    assert allowed["extend"]["useDefault"] is True
    for rule in allowed["allowlists"]:
        for path in rule.get("paths", ()):
            assert path.startswith("^")
            assert not re.match(path, "assistant/settings.py")


def test_a_hole_can_be_reported() -> None:
    said = (ROOT / "SECURITY.md").read_text("utf-8")
    assert "Report a vulnerability" in said
    assert "docs/security.md" in said


def test_the_threat_model_names_what_there_is() -> None:
    """Each file that docs/security.md rests on is there, and each entry of OWASP's list has tests with its name."""
    said = (ROOT / "docs" / "security.md").read_text("utf-8")
    for named in set(re.findall(r"`((?:tests|infra|docs)/[\w./-]+)`|\]\(\.\./([\w./-]+)\)", said)):
        path = next(filter(None, named))
        assert (ROOT / path).exists(), path
    here = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+\.py)", said)):
        assert (Path(__file__).parent / name).exists(), name
    for number in range(1, 11):
        assert f"def test_llm{number:02}_" in here, number
        assert f"| LLM{number:02} " in said, number
