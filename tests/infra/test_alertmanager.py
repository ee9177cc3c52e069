"""Whom alerts reach: what ``.env`` says, in the words of Alertmanager itself, and messages as they arrive."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from assistant.embedded import free_port
from tests.infra.files import COMPOSE, INFRA, ROOT
from tests.infra.programs import at_home, program, ready

SCRIPT = INFRA / "prometheus/alertmanager.sh"
SERVICE: dict[str, Any] = COMPOSE["services"]["alertmanager"]
MAIL = {"ALERT_EMAIL_TO": "o'hara@example.com", "ALERT_EMAIL_FROM": "almanac@example.com", "ALERT_SMTP": "mail:587"}
SLACK = {"ALERT_SLACK_URL": "https://hooks.slack.example/services/T/B/secret"}
LOGIN = {"ALERT_SMTP_USER": "almanac", "ALERT_SMTP_PASSWORD": "hunter2"}
TEAMS = {"ALERT_TEAMS_URL": "https://prod.logic.example/workflows/x?sig=secret"}
SECONDS = 30.0


def write(folder: Path, said: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **said}
    command = ["sh", SCRIPT, folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


def written(folder: Path, **said: str) -> dict[str, Any]:
    done = write(folder, said)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = yaml.safe_load((folder / "alertmanager.yml").read_text())
    return read


def amtool(*arguments: object) -> str:
    done = subprocess.run([program("amtool"), *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("said", [{}, MAIL, SLACK, {**MAIL, **SLACK, **LOGIN}])
def test_alertmanager_takes_what_is_written(tmp_path: Path, said: dict[str, str]) -> None:
    written(tmp_path, **said)
    assert "SUCCESS" in amtool("check-config", tmp_path / "alertmanager.yml")
    for severity in ("page", "ticket"):
        route = amtool(
            "config", "routes", "test", f"--config.file={tmp_path / 'alertmanager.yml'}", f"severity={severity}"
        )
        assert route.strip() == "people"


def test_where_nothing_is_said_nobody_is_told(tmp_path: Path) -> None:
    assert written(tmp_path)["receivers"] == [{"name": "people"}]
    empty = written(tmp_path, **dict.fromkeys(SERVICE["environment"], ""))  # as Compose passes what is not set
    assert empty["receivers"] == [{"name": "people"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alertmanager.yml", "almanac.tmpl"]


def test_each_way_is_there_where_it_is_said_and_its_secret_lies_apart(tmp_path: Path) -> None:
    said = {**MAIL, **SLACK, **TEAMS, **LOGIN}
    [people] = written(tmp_path, **said)["receivers"]
    [mail], [slack], [teams] = people["email_configs"], people["slack_configs"], people["msteamsv2_configs"]
    assert (mail["to"], mail["smarthost"], mail["require_tls"]) == ("o'hara@example.com", "mail:587", True)
    secrets = {
        mail["auth_password_file"]: "hunter2",
        slack["api_url_file"]: SLACK["ALERT_SLACK_URL"],
        teams["webhook_url_file"]: TEAMS["ALERT_TEAMS_URL"],
    }
    for name, secret in secrets.items():
        assert Path(name).read_text() == secret
        assert Path(name).stat().st_mode & 0o077 == 0
        assert secret not in (tmp_path / "alertmanager.yml").read_text()
    assert set(teams) <= {"webhook_url_file", "send_resolved", "title", "text"}  # fields of the version composed


@pytest.mark.parametrize(
    ("said", "sentence"),
    [({"ALERT_EMAIL_TO": "a@b"}, "needs ALERT_SMTP"), ({**MAIL, "ALERT_EMAIL_TO": "a@b\nc"}, "more than one line")],
)
def test_what_cannot_be_is_said_and_does_not_start(tmp_path: Path, said: dict[str, str], sentence: str) -> None:
    done = write(tmp_path, said)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_it_is_composed_as_the_script_wants_it() -> None:
    script, folder = SERVICE["entrypoint"][1:]
    mounts = dict(reversed(volume.split(":")[:2]) for volume in SERVICE["volumes"])
    assert ROOT / mounts[script] == SCRIPT
    assert folder.startswith(SERVICE["tmpfs"][0].partition(":")[0] + "/")
    assert set(SERVICE["environment"]) == set(re.findall(r"\$\{?(ALERT_\w+)", SCRIPT.read_text()))
    example = (ROOT / ".env.example").read_text()
    assert all(f"\n{name}=" in example for name in SERVICE["environment"])
    scraped = yaml.safe_load((INFRA / "prometheus/compose.yml").read_text())
    [target] = scraped["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert target == "alertmanager:9093"
    storage = next(word for word in SERVICE["command"] if word.startswith("--storage.path="))
    assert storage.partition("=")[2] in mounts


class People:
    """Slack's webhook and a mail server; ``slack`` and ``mail`` are what came."""

    def __init__(self) -> None:
        self.slack: list[dict[str, Any]] = []
        self.mail: list[str] = []
        self.logins: list[str] = []

    async def hook(self, request: web.Request) -> web.Response:
        self.slack.append(await request.json())
        return web.Response(text="ok")

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        answer("220 mail")
        while line := (await reader.readline()).decode().strip():
            word = line.partition(" ")[0].upper()
            if word == "EHLO":
                answer("250-mail\r\n250 AUTH PLAIN")
            elif word == "AUTH":
                self.logins.append(base64.b64decode(line.split()[-1]).decode())
                answer("235 yes")
            elif word == "DATA":
                answer("354 go on")
                self.mail.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                answer("250 kept")
            elif word == "QUIT":
                answer("221 bye")
                break
            else:
                answer("250 yes")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def reached() -> AsyncIterator[tuple[People, str, str]]:
    people = People()
    application = web.Application()
    application.router.add_post("/hook", people.hook)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = await asyncio.start_server(people.talk, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield people, f"http://127.0.0.1:{runner.addresses[0][1]}/hook", f"127.0.0.1:{port}"
    finally:
        server.close()
        await runner.cleanup()


@asynccontextmanager
async def alertmanager(folder: Path, said: dict[str, str]) -> AsyncIterator[str]:
    """The real one, with what the script writes; without the wait for more alerts of a kind, and mail without TLS."""
    written(folder, **said)
    path = folder / "alertmanager.yml"
    path.write_text(path.read_text().replace("group_wait: 30s", "group_wait: 0s").replace("tls: true", "tls: false"))
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        *at_home("alertmanager"), f"--config.file={path}", f"--storage.path={folder / 'data'}",
        "--cluster.listen-address=", f"--web.listen-address={url.removeprefix('http://')}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as client:
                while not await ready(client, f"{url}/-/ready"):
                    assert process.returncode is None, (folder / "log").read_text()[-1_000:]
                    await asyncio.sleep(0.1)
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def test_an_alert_arrives_as_a_message_that_says_what_to_do(tmp_path: Path) -> None:
    alert = {
        "labels": {"alertname": "AlmanacQueueLong", "severity": "ticket", "queue": "runs"},
        "annotations": {"summary": "200 wait in runs.", "runbook_url": "runbooks.md#almanac-queue-long"},
        "startsAt": datetime.now(UTC).isoformat(),
    }
    link = "https://git.example/infra/prometheus/runbooks.md#almanac-queue-long"
    async with reached() as (people, hook, mail):
        said = {
            **MAIL, **LOGIN, "ALERT_SMTP": mail, "ALERT_SLACK_URL": hook,
            "ALERT_RUNBOOKS": "https://git.example/infra/prometheus/",
        }  # fmt: skip
        async with alertmanager(tmp_path, said) as url, aiohttp.ClientSession() as client:
            async with client.post(f"{url}/api/v2/alerts", json=[alert]) as response:
                assert response.status == 200, await response.text()
            async with asyncio.timeout(SECONDS):
                while not (people.slack and people.mail):
                    await asyncio.sleep(0.1)
    [shown] = people.slack[0]["attachments"]
    assert shown["title"] == "[ticket] AlmanacQueueLong"
    assert shown["title_link"] == link
    assert shown["text"] == f"200 wait in runs.\nWhat to do: {link}"
    assert people.logins == ["\0almanac\0hunter2"]
    assert "Subject: [ticket] AlmanacQueueLong" in people.mail[0]
    assert "200 wait in runs." in people.mail[0]


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux' sh")
def test_the_script_starts_what_it_is_told_with_what_it_wrote(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    command = ["sh", SCRIPT, tmp_path, "echo", "--storage.path=/alertmanager"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout.split() == ["--storage.path=/alertmanager", f"--config.file={tmp_path}/alertmanager.yml"]
