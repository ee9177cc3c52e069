"""The sample company's API: its own process, its own document, the handbook's facts, and a restart that runs once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import openpyxl
import pytest
import yaml
from aiohttp import web

import assistant.sample
from assistant.embedded import free_port
from assistant.sample.company import OPENAPI, TOKEN
from assistant.sample.company.app import create
from assistant.sample.company.catalogue import LONDON, WORKBOOK, read_catalogue
from assistant.sample.company.state import ROLLING, State
from assistant.settings import Settings
from assistant.tools.model import NotAllowed, ToolError, arguments_hash
from assistant.tools.registry import Toolbox
from bot.sample_tools import FILE, SECRET, SOURCE
from tests.tools.api import ME, listening

KEY = "a-token-of-this-test"
RESTART = {"name": "finder", "environment": "staging", "reason": "it leaks memory"}


@pytest.fixture
async def company() -> AsyncIterator[str]:
    runner = web.AppRunner(create(KEY), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def box(company: str) -> AsyncIterator[Toolbox]:
    settings = Settings(_env_file=None, tools=str(FILE), tool_servers={SOURCE: company}, tool_secrets={SECRET: KEY})
    opened = Toolbox.open(settings)
    yield opened
    await opened.close()


async def call(box: Toolbox, name: str, /, **arguments: Any) -> Any:
    return (await box.call(await box.find(name, ME), arguments, ME)).data


def test_it_tells_what_the_handbook_tells() -> None:
    catalogue = read_catalogue()
    rows = list(openpyxl.load_workbook(WORKBOOK)["Services"].iter_rows(min_row=2, values_only=True))
    assert len(rows) == len(catalogue.services) == 12
    for row in rows:
        service = catalogue.services[row[0]]
        assert (service.team, service.port, service.tier, service.rotation) == (row[2], row[4], row[5], row[8])
        assert service.rotation in catalogue.rotations
        assert service.name in catalogue.rotations[service.rotation].covers
    rotations = list(openpyxl.load_workbook(WORKBOOK)["On-call rotations"].iter_rows(min_row=2, values_only=True))
    assert [len(catalogue.rotations[row[0]].people) for row in rotations] == [row[3] for row in rotations]


def test_nobody_has_two_pagers_and_everybody_has_their_turn() -> None:
    rotations = read_catalogue().rotations
    start = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    turns: dict[str, set[str]] = {name: set() for name in rotations}
    for hours in range(0, 24 * 7 * 11, 6):  # both changes of the clocks are in it
        now = start + timedelta(hours=hours)
        holders = []
        for rotation in rotations.values():
            person, since, until = rotation.on_call(now)
            assert since <= now < until
            assert since.astimezone(LONDON).strftime("%H:%M") == rotation.at
            assert since.astimezone(LONDON).weekday() == rotation.weekday
            holders.append(person)
            turns[rotation.name].add(person)
        assert len(holders) == len(set(holders))
    assert all(turns[name] == set(rotation.people) for name, rotation in rotations.items())


def test_business_hours_are_those_of_the_handbook() -> None:
    rotations = read_catalogue().rotations
    night = datetime(2026, 7, 1, 17, 30, tzinfo=UTC)  # 18:30 in London, a Wednesday
    assert not rotations["search-daytime"].paged(night)
    assert rotations["search-daytime"].paged(night - timedelta(hours=1))
    assert not rotations["search-daytime"].paged(datetime(2026, 7, 4, 10, tzinfo=UTC))
    assert rotations["payments-primary"].paged(night)


async def test_reads_through_the_tools(box: Toolbox) -> None:
    assert (await call(box, "getService", name="ledger"))["port"] == 8142
    tracking = await call(box, "listServices", team="tracking")
    assert [one["name"] for one in tracking["services"]] == ["parcel-tracker", "label-press"]
    on_call = (await call(box, "whoIsOnCall", service="ledger"))["on_call"]
    assert [one["rotation"] for one in on_call] == ["payments-primary", "payments-secondary"]
    assert on_call[0]["on_call"] != on_call[1]["on_call"]
    assert on_call[0]["lead"] == "Tomasz Wierzbicki"
    assert len((await call(box, "whoIsOnCall"))["on_call"]) == 12
    deploy = await call(box, "getDeployStatus", service="doorman")
    assert deploy["promotion"] == "manual"
    assert [one["id"] for one in (await call(box, "listIncidents", state="open"))["incidents"]] == ["INC-2291"]
    with pytest.raises(ToolError, match="There is no service ledgr; there are gateway"):
        await call(box, "getService", name="ledgr")
    with pytest.raises(ToolError, match="There is no rotation x-ray"):
        await call(box, "whoIsOnCall", rotation="x-ray")


async def test_a_restart_waits_for_its_approval_and_runs_once(box: Toolbox) -> None:
    tool = await box.find("restartService", ME)
    assert (tool.needs_approval, tool.idempotent, tool.before) == (True, True, "getService")
    with pytest.raises(NotAllowed):
        await call(box, "restartService", **RESTART)
    approved = arguments_hash(tool, RESTART)
    first = await box.call(tool, RESTART, ME, idempotency_key="a-1", approved=approved)
    again = await box.call(tool, RESTART, ME, idempotency_key="a-1", approved=approved)
    assert first.data == again.data
    assert (await call(box, "getService", name="finder"))["last_restart"]["id"] == first.data["id"]
    with pytest.raises(ToolError, match=r"409\): Restarting already"):
        await box.call(tool, RESTART, ME, idempotency_key="a-2", approved=approved)
    other = {**RESTART, "reason": "another reason"}
    with pytest.raises(ToolError, match="came with another request"):
        await box.call(tool, other, ME, idempotency_key="a-1", approved=arguments_hash(tool, other))


async def test_an_incident_is_acknowledged_once(box: Toolbox) -> None:
    tool = await box.find("acknowledgeIncident", ME)
    arguments = {"id": "INC-2291", "note": "Looking at the queue."}
    approved = arguments_hash(tool, arguments)
    done = await box.call(tool, arguments, ME, idempotency_key="k", approved=approved)
    assert (done.data["state"], done.data["note"]) == ("acknowledged", "Looking at the queue.")
    with pytest.raises(ToolError, match="INC-2291 is acknowledged already"):
        await box.call(tool, arguments, ME, idempotency_key="l", approved=approved)


def test_a_restart_takes_its_time() -> None:
    state = State(read_catalogue())
    now = datetime.now(UTC)
    begun = state.restart("finder", "staging", "x" * 5, now)
    assert (begun["state"], begun["pods_ready"]) == ("rolling", "0 of 5")
    restart = state.last_restart("finder")
    assert restart is not None
    assert restart.at(now + ROLLING / 2)["pods_ready"] == "2 of 5"
    assert restart.at(now + ROLLING)["state"] == "done"
    state.restart("finder", "production", "other place", now)
    state.restart("finder", "staging", "once more", now + ROLLING)


async def test_nobody_without_the_token_is_answered(company: str) -> None:
    async with aiohttp.ClientSession(company) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            async with client.get("/services", headers=headers) as response:
                assert response.status == 401
                assert response.content_type == "application/problem+json"
        async with client.get("/openapi.yaml") as response:
            assert yaml.safe_load(await response.read()) == yaml.safe_load(OPENAPI.read_bytes())


async def test_every_path_of_the_document_is_there_and_no_other(company: str) -> None:
    document = yaml.safe_load(OPENAPI.read_bytes())
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    served = {(route.method, resource.canonical) for resource in create(KEY).router.resources() for route in resource
              if route.method != "HEAD"}  # fmt: skip
    assert described == served - {("GET", "/openapi.yaml")}
    values = {"name": "ledger", "service": "ledger", "id": "INC-2291"}
    async with aiohttp.ClientSession(company, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for method, path in described:
            address = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
            async with client.request(method, address, data=b"no json") as response:
                assert response.status == (200 if method == "GET" else 400), (method, path)
                body = json.loads(await response.text())
                assert response.status == 200 or body["status"] == 400


def test_the_process_wants_a_token_and_stops_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "assistant.sample.company", str(free_port())]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert TOKEN in refused.stderr
    environment |= {TOKEN: KEY * 2, "ALMANAC_PARENT_PIPE": "1"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    try:
        asyncio.run(listening(int(command[-1])))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_the_samples_tools_are_packed() -> None:
    import tomllib

    packed = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    folder = Path(assistant.sample.__file__).parent
    found = {path for pattern in packed["assistant.sample"] for path in folder.glob(pattern)}
    assert {FILE, OPENAPI, *(folder / "apis").glob("*.yaml")} <= found
