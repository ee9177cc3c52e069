"""``almanac up`` as a process: ready, asked, killed in parts, stopped whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from assistant.embedded import free_port
from tests.core.functions_double import calls, says, served
from tests.tools.whole import IS_ON_CALL

ALMANAC = [sys.executable, "-m", "bot.terminal"]


@dataclass
class Up:
    """A running ``almanac up`` and what it said when it was ready."""

    process: subprocess.Popen[str]
    home: Path
    address: dict[str, object]

    @property
    def web(self) -> str:
        return str(self.address["web"])

    def children(self) -> dict[str, psutil.Process]:
        """The bot and the worker by module name."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it may be gone by now
                line = child.cmdline()
                if "-m" in line:
                    found[line[line.index("-m") + 1]] = child
        return found


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"ALMANAC_HOME": str(home)}


def start(home: Path, port: int, *options: str, **more: str) -> Up:
    home.mkdir(parents=True, exist_ok=True)
    errors = home / "up.err"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*ALMANAC, "up", "--port", str(port), "--json", *options],
            env=environment(home) | more, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line, errors.read_text()
    return Up(process, home, json.loads(line))


def run(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ALMANAC, *arguments], env=environment(home) | more, capture_output=True, text=True, timeout=120
    )


def ask(web: str, question: str) -> dict[str, object]:
    body = json.dumps({"question": question, "conversation": "8a1f3a52-5f4c-4a3e-9f5c-0d8f4a1b2c3d"}).encode()
    request = urllib.request.Request(f"{web}/api/ask", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        last = [line for line in response.read().decode().splitlines() if line.startswith("data: ")][-1]
    document: dict[str, object] = json.loads(last.removeprefix("data: "))
    return document


def eventually(check: object, seconds: float = 40) -> None:
    assert callable(check)
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)


def servers_of(home: Path) -> list[psutil.Process]:
    """Every process that works in the home: Postgres, Valkey, our own."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(home) in words or str(home) in (process.info["cwd"] or ""):
            found.append(process)
    return found


@pytest.fixture(scope="module")
def up(home: Path) -> Iterator[Up]:
    own = home / "up"
    running = start(own, free_port())
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)


def test_the_ready_line_names_what_it_serves(up: Up) -> None:
    assert set(up.address) == {"web", "slack_events", "teams_messages", "pid"}
    assert up.address["pid"] == up.process.pid


def test_the_sample_handbook_answers_with_citations(up: Up) -> None:
    answer = ask(up.web, "Within how many hours can a finder release be rolled back?")
    assert answer["outcome"] == "answered"
    assert "6 hours" in str(answer["text"])
    citations = answer["citations"]
    assert isinstance(citations, list)
    assert "deploy/rollback.md" in {citation["external_id"] for citation in citations}


def test_health_readiness_and_metrics(up: Up) -> None:
    for path, words in (("/healthz", "alive"), ("/readyz", "ready"), ("/metrics", "almanac_stage_seconds_bucket")):
        with urllib.request.urlopen(up.web + path, timeout=60) as response:
            assert words in response.read().decode()


def test_the_terminal_asks_the_running_one(up: Up) -> None:
    result = run(up.home, "ask", "Who leads the search on-call rotation?", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["outcome"] == "answered"
    with urllib.request.urlopen(up.web + "/metrics", timeout=60) as response:
        assert 'almanac_answers_total{outcome="answered",platform="web"}' in response.read().decode()


def test_a_second_one_says_so_and_leaves_the_first_alone(up: Up) -> None:
    second = run(up.home, "up", "--port", str(free_port()))
    assert second.returncode == 1
    assert "Almanac is already running" in second.stderr
    assert ask(up.web, "What is a SEV1?")["outcome"] in ("answered", "not_in_documents")


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(home / "other", "up", "--port", str(port))
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be used" in " ".join(result.stderr.split())
    assert servers_of(home / "other") == []


def test_the_samples_tools_are_there_without_a_setting(up: Up) -> None:
    called = run(up.home, "tools", "call", "getService", "name=finder", "--json")
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["data"]["port"] == 8417
    company = up.children()["assistant.sample.company"].environ()
    assert not [name for name in company if name.startswith(("ALMANAC_DATABASE", "ALMANAC_HOME", "SLACK_"))]


@pytest.mark.parametrize("module", ["bot", "workers", "assistant.sample.company"])
def test_a_killed_child_is_started_again(up: Up, module: str) -> None:
    eventually(lambda: module in up.children())
    victim = up.children()[module]
    victim.kill()
    eventually(lambda: (child := up.children().get(module)) is not None and child.pid != victim.pid)
    assert ask(up.web, "What is a SEV1?")["outcome"] in ("answered", "not_in_documents")


def test_a_killed_postgres_and_valkey_are_started_again(up: Up) -> None:
    for process in servers_of(up.home):
        if process.is_running() and process.name() in ("postgres", "valkey-server"):
            process.kill()

    def answers() -> bool:
        try:
            return ask(up.web, "What is a SEV1?").get("outcome") in ("answered", "not_in_documents")
        except OSError:
            return False

    eventually(answers)
    eventually(lambda: any("valkey" in process.name() for process in servers_of(up.home)))


def test_sigterm_stops_all_of_it_and_the_next_start_reads_nothing_again(up: Up) -> None:
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0
    eventually(lambda: servers_of(up.home) == [], 10)
    again = start(up.home, free_port())
    try:
        status = json.loads(run(up.home, "status", "--json").stdout)
        assert (status["documents"], len(status["runs"])) == (29, 1)
        assert run(up.home, "down").returncode == 0
        assert again.process.wait(60) == 0
    finally:
        again.process.kill()
    eventually(lambda: servers_of(up.home) == [], 10)


@pytest.mark.timeout(400)  # it may have to read the handbook first, and starts the terminal nine times
async def test_with_a_model_the_companys_api_is_asked_and_changed_once_somebody_approves(home: Path) -> None:
    """In the home of the tests above, whose handbook is read already."""
    own = home / "up"
    async with served() as model:
        named = {"ALMANAC_LLM_BASE_URL": f"{model.url}/v1", "ALMANAC_LLM_MODEL": "small-1"}

        async def almanac(*arguments: str, code: int = 0) -> str:
            done = await asyncio.to_thread(run, own, *arguments, **named)
            assert done.returncode == code, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout

        running = await asyncio.to_thread(start, own, free_port(), **named)
        try:
            model.behaviours += [calls(("whoIsOnCall", {"service": "ledger"})), IS_ON_CALL]
            said = await almanac("ask", "Who is on call for ledger right now?")
            assert " is on call for ledger [1]." in said
            assert "[1] Who is on call now  asked 20" in said
            arguments = {"name": "finder", "environment": "staging", "reason": "It hangs."}
            model.behaviours += [calls(("restartService", arguments)), says("I have restarted it.")]
            answer = json.loads(await almanac("ask", "Restart finder in staging, it hangs", "--json"))
            assert answer["outcome"] == "waiting_for_approval"
            [pending] = answer["approvals"]
            assert list(pending["arguments"].items()) == list(arguments.items())
            number = pending["id"][:8]
            assert number in await almanac("approvals")
            await almanac("approvals", "approve", number, code=1)  # nobody is there to be asked once more
            ended = [json.loads(await almanac("approvals", "approve", number, "--yes", "--json")) for _ in range(2)]
            assert [it["state"] for it in ended] == ["done", "done"]
            finder = json.loads(await almanac("tools", "call", "getService", "name=finder", "--json"))
            assert finder["data"]["last_restart"]["id"] == "R-1001"
            assert "R-1001" in ended[0]["result"]
            await almanac("down")
            assert await asyncio.to_thread(running.process.wait, 60) == 0
        finally:
            running.process.kill()


def test_after_a_kill_of_the_whole_the_next_start_on_the_same_port_works(home: Path) -> None:
    own, port = home / "killed", free_port()
    first = start(own, port, "--no-sample")
    first.process.kill()
    first.process.wait()
    second = start(own, port, "--no-sample")
    assert set(second.children()) == {"bot", "workers"}
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(60) == 0
    eventually(lambda: servers_of(own) == [], 20)
