"""``almanac tools`` and ``almanac check`` as people run them, beside the sample company's API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from assistant.embedded import free_port
from assistant.errors import AlmanacError
from assistant.sample.company import TOKEN
from bot.sample_tools import FILE, SECRET, SOURCE
from bot.terminal import app
from tests.tools.api import document, get, listening, write_file

KEY = "a-token-of-this-test"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def company() -> Iterator[str]:
    port = free_port()
    environment = os.environ | {TOKEN: KEY}
    process = subprocess.Popen([sys.executable, "-m", "assistant.sample.company", str(port)], env=environment)
    asyncio.run(listening(port))
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


class Terminal:
    """The command in this process: a process of its own takes seconds to start."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._settings = settings

    def run(self, *words: str, **more: str) -> Result:
        settings = {"ALMANAC_HOME": str(self._folder / "home"), "COLUMNS": "160"} | self._settings | more
        result = CliRunner().invoke(app, list(words), env=settings)
        said = str(result.exception) if isinstance(result.exception, AlmanacError) else ""  # as main() shows it
        assert said or result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Result(result.exit_code, result.stdout, result.stderr + said)

    def json(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def terminal(company: str, database_url: str, tmp_path: Path) -> Terminal:
    servers = {SOURCE: company, "places": "http://127.0.0.1:9", "weather": "http://127.0.0.1:9",
               "rates": "http://127.0.0.1:9"}  # fmt: skip
    return Terminal(tmp_path, {
        "ALMANAC_TOOLS": str(FILE), "ALMANAC_TOOL_SERVERS": json.dumps(servers),
        "ALMANAC_TOOL_SECRETS": json.dumps({SECRET: KEY}), "ALMANAC_DATABASE_URL": database_url,
    })  # fmt: skip


def test_tools_are_listed_shown_and_called(terminal: Terminal) -> None:
    tools = {tool["name"]: tool for tool in terminal.json("tools", "list")["tools"]}
    assert len(tools) == 11
    assert [name for name, tool in tools.items() if tool["needs_approval"]] == ["restartService", "acknowledgeIncident"]
    listed = terminal.run("tools", "list")
    assert "acknowledgeIncident" in listed.stdout
    assert "administrators, requester" in listed.stdout
    shown = terminal.json("tools", "show", "restartService")
    assert shown["call"] == "POST /services/{name}/restart"
    assert shown["parameters"]["required"] == ["name", "environment", "reason"]
    done = terminal.json("tools", "call", "whoIsOnCall", "service=finder")
    assert done["data"]["on_call"][0]["rotation"] == "search-daytime"
    by_json = terminal.json("tools", "call", "listServices", "--json-arguments", '{"tier": 3}')
    assert [service["name"] for service in by_json["data"]["services"]] == ["postbox"]
    by_words = terminal.json("tools", "call", "listServices", "tier=3")
    assert by_words["data"] == by_json["data"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "nothing"], "There is no tool nothing; there are listServices, getService,"),
        (["call", "getService"], "getService cannot be called so: name is missing."),
        (["call", "getService", "ledger"], "ledger is no NAME=VALUE."),
        (["call", "getService", "--json-arguments", "{"], "--json-arguments is no JSON."),
        (["call", "listServices", "tier=four"], "tier must be a whole number, not four"),
        (["call", "getService", "name=none-such"], "There is no service none-such; there are gateway"),
        (["call", "getWeather", "latitude=53.8", "longitude=-1.5"], "weather cannot be reached; try again later."),
    ],
)
def test_a_mistake_is_one_sentence(terminal: Terminal, words: list[str], sentence: str) -> None:
    result = terminal.run("tools", *words)
    assert result.returncode == 1
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_write_is_shown_approved_of_run_once_and_written_down(terminal: Terminal, database_url: str) -> None:
    call = ["tools", "call", "restartService", "name=console", "environment=staging", "reason=stale assets"]
    waiting = terminal.json(*call)  # nobody sits here who could be asked
    assert waiting["state"] == "waiting"
    assert terminal.json("tools", "call", "getService", "name=console")["data"]["last_restart"] is None
    done = terminal.json(*call, "--yes")
    assert done["state"] == "done"
    last = terminal.json("tools", "call", "getService", "name=console")["data"]["last_restart"]
    assert last["reason"] == "stale assets"
    with psycopg.connect(database_url) as connection:
        actions = [row[0] for row in connection.execute("SELECT action FROM audit ORDER BY id")]
    assert actions == ["approval propose", "approval propose", "approval approve", "approval done"]


def test_without_tools_that_is_said(tmp_path: Path) -> None:
    for settings in ({}, {"ALMANAC_TOOLS": "none"}):
        result = Terminal(tmp_path, settings).run("tools", "list")
        assert result.returncode == 1
        assert "There are no tools: ALMANAC_TOOLS names no tools.yaml" in " ".join(result.stderr.split())


def test_check_names_what_cannot_be_reached_and_does_not_fail_for_it(terminal: Terminal, tmp_path: Path) -> None:
    checks = terminal.json("check")
    assert checks["ok"]
    found = {check["name"]: check for check in checks["checks"]}
    assert found["tools"]["detail"] == "company (7)"
    assert found["tools of weather"]["warning"]
    assert "cannot be reached" in found["tools of weather"]["detail"]
    write_file(tmp_path, "api.yaml", document({"/x": get()}))
    broken = write_file(
        tmp_path, "tools.yaml", {"sources": [{"name": "x", "openapi": "api.yaml", "operations": ["y"]}]}
    )
    result = terminal.run("check", "--json", ALMANAC_TOOLS=str(broken), ALMANAC_TOOL_SERVERS="{}")
    assert result.returncode == 1
    wrong = [check for check in json.loads(result.stdout)["checks"] if not check["ok"]]
    assert [check["name"] for check in wrong] == ["tools"]
