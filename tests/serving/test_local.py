"""``ALMANAC_LLM=local`` with the real SmolLM2: asked, killed, healed by ``almanac up``; and alone by ``serve``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest

from assistant.embedded import free_port
from bot import state
from tests.test_up import ALMANAC, Up, ask, environment, eventually, run, servers_of, start

LOCAL = {"ALMANAC_LLM": "local", "ALMANAC_TOKEN_VECTORS": "0"}
MODEL = "smollm2-135m-instruct"
NOTE = "Releases of the ledger are rolled back within seven hours. Afterwards a migration has to be reverted by hand.\n"
QUESTION = "Within how many hours are releases of the ledger rolled back?"


@pytest.fixture(scope="module")
def up(home: Path, smollm2_home: Path) -> Iterator[Up]:
    own = home / "local"
    own.mkdir()
    (own / "models").symlink_to(smollm2_home / "models")  # as it lies in a home after the first start
    running = start(own, free_port(), "--no-sample", **LOCAL)
    note = own / "ledger.md"
    note.write_text(f"# Ledger\n\n{NOTE}")
    done = run(own, "ingest", str(note), **LOCAL)
    assert done.returncode == 0, done.stderr
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)


def client(up: Up) -> openai.OpenAI:
    running = state.find(up.home)
    assert running is not None
    assert running.llm is not None
    return openai.OpenAI(base_url=running.llm.url, api_key=running.llm.key, timeout=60, max_retries=0)


@pytest.mark.timeout(400)
def test_a_question_is_answered_by_smollm2_with_a_citation(up: Up) -> None:
    answer = ask(up.web, QUESTION)
    assert answer["model"] == MODEL
    assert answer["outcome"] == "answered", answer
    assert "seven hours" in str(answer["text"])
    citations = answer["citations"]
    assert isinstance(citations, list)
    assert [citation["title"] for citation in citations] == ["Ledger"]
    usage = answer["usage"]
    assert isinstance(usage, dict)
    assert usage["completion_tokens"] > 0
    assert usage["cost_usd"] == 0


@pytest.mark.timeout(300)
def test_status_and_check_name_it_and_its_key_is_no_secret_of_the_line(up: Up) -> None:
    assert set(up.address) == {"web", "slack_events", "teams_messages", "pid", "llm"}
    told = up.address["llm"]
    assert isinstance(told, dict)
    assert told["model"] == MODEL
    assert set(told) == {"url", "model"}
    status = json.loads(run(up.home, "status", "--json", **LOCAL).stdout)
    assert status["health"] == {"database": "ok", "language model": "ok"}
    for given in (LOCAL, {}):  # from another terminal, too, which was not told what was started
        checks = json.loads(run(up.home, "check", "--json", **given).stdout)["checks"]
        [model] = [one for one in checks if one["name"] == "language model"]
        assert (model["ok"], model["detail"]) == (True, f"{MODEL} answers on this machine")
    with client(up) as ours, pytest.raises(openai.AuthenticationError):
        ours.with_options(api_key="guess").models.list()


@pytest.mark.timeout(300)
def test_a_killed_server_is_started_again_at_the_same_address(up: Up) -> None:
    victim = up.children()["workers.serving"]
    assert not [name for name in victim.environ() if name.startswith(("SLACK_", "Microsoft"))]
    victim.kill()
    with client(up) as ours:
        said = ours.chat.completions.create(  # it waits at the socket until the new one is there
            model=MODEL, messages=[{"role": "user", "content": "What is 2 + 2?"}], max_tokens=20, temperature=0
        )
    assert "4" in (said.choices[0].message.content or "")
    child = up.children()["workers.serving"]
    assert child.pid != victim.pid
    assert ask(up.web, QUESTION)["model"] == MODEL


@pytest.mark.timeout(200)
def test_serve_serves_alone_in_the_foreground_and_stops_politely(up: Up) -> None:
    """Beside the running Almanac, whose registry it reads."""
    port = free_port()
    server = subprocess.Popen(
        [*ALMANAC, "serve", "--port", str(port)], env=environment(up.home) | LOCAL, stderr=subprocess.DEVNULL
    )
    try:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60) as alone:
            eventually(lambda: _answers(alone), 90)
            assert [model.id for model in alone.models.list()] == [MODEL, "all-MiniLM-L6-v2"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
    assert up.process.poll() is None


def _answers(alone: openai.OpenAI) -> bool:
    try:
        alone.models.list()
    except openai.APIConnectionError:
        return False
    return True


@pytest.mark.timeout(100)
def test_a_model_that_is_none_stops_the_start_with_its_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.serving"], capture_output=True, text=True, timeout=90,
        env=os.environ | {"ALMANAC_BASE_MODEL": str(tmp_path), "ALMANAC_SERVE_PORT": "0"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == (f"ALMANAC_BASE_MODEL is wrong: {tmp_path} holds no language model (no config.json).")


@pytest.mark.timeout(100)
def test_nothing_is_left_when_it_has_stopped(up: Up) -> None:
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0
    eventually(lambda: servers_of(up.home) == [], 15)
    assert not psutil.pid_exists(up.process.pid)
