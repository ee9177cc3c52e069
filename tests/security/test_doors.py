"""The ways in, as attackers try them: odd bytes in headers, other names for this machine, other organisations,
addresses that look public, links out of a folder, and what somebody with the queue's password could put into it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import pickle
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from assistant.addresses import Forbidden, public
from assistant.database import admin_links
from assistant.database.admin_links import Invited
from assistant.errors import DocumentUnreadable, SettingsError
from assistant.queue import JOB, QUEUE, connect, enqueue
from bot.app import create_application
from bot.state import SampleTools
from bot.teams import add_teams
from bot.teams.tokens import Denied, Door
from bot.web.people import Person
from tests.core.functions_double import Double
from tests.security.attacked import Attacked, settings_of
from tests.tools.whole import Whole, opened, somebody
from workers.ingestion.guard import Resolver, check
from workers.ingestion.sources.folder import Folder
from workers.settings import create_worker

TOKEN = "a token of the page, long enough"


@pytest.fixture(scope="module")
async def closed(almanac: Attacked, url: str, tools: SampleTools, model: Double) -> AsyncIterator[Whole]:
    """A page behind a token."""
    async with opened(settings_of(tools, model, web_token=TOKEN, admin_token=f"{TOKEN} 2"), url, model) as whole:
        yield whole


async def raw(url: str, head: bytes) -> bytes:
    """What a server says to bytes that no client of HTTP would send."""
    place = URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    writer.write(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.parametrize("path", ["/api/search?q=x", "/api/admin/overview", "/mcp"])
@pytest.mark.parametrize(
    "header",
    [b"Authorization: Bearer \xff\xfe\r\n", b"Authorization: Bearer alm_\xff\r\n",
     b"Cookie: almanac_visitor=\xff\xfe\r\n", b"Cookie: almanac_session=99999999999.\xff\r\n",
     b"Cookie: almanac_admin=99999999999.\xff\r\n"],
)  # fmt: skip
async def test_a_credential_that_is_no_text_is_a_wrong_one(closed: Whole, path: str, header: bytes) -> None:
    answer = await raw(closed.url, b"GET " + path.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + header)
    assert answer.startswith(b"HTTP/1.1 401"), answer[:200]


async def test_an_origin_that_is_none_is_another(closed: Whole) -> None:
    head = b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\nContent-Type: application/json\r\n"
    assert (await raw(closed.url, head)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("path", ["/", "/api/search?q=x", "/metrics", "/readyz", "/mcp"])
async def test_a_name_re_pointed_at_this_machine_reads_nothing(almanac: Attacked, path: str) -> None:
    """DNS rebinding: a page elsewhere gives its own name this machine's address, and its scripts ask as its own."""
    async with somebody() as page, page.get(f"{almanac.whole.url}{path}", headers={"Host": "evil.example"}) as response:
        assert response.status == 403
    async with somebody() as own, own.get(f"{almanac.whole.url}{path}") as response:
        assert response.status != 403


async def test_a_persons_name_opens_nothing_of_theirs(almanac: Attacked) -> None:
    """Names stand in the audit and among what answers cost; whoever reads them there cannot be that person."""
    secret = uuid.uuid4()
    person = Person(secret, is_new=False)
    assert str(secret) not in person.name
    assert Person(person.id, is_new=False).name != person.name
    assert Person(secret, is_new=True).name == person.name


async def test_an_administrators_link_opens_once_even_when_pressed_at_once(almanac: Attacked) -> None:
    services = almanac.whole.services
    async with services.sessions.begin() as session:
        token = await admin_links.create(session, Invited(next(iter(services.settings.admins)), "Ben", "slack", False))
    async with somebody() as first, somebody() as second:
        pressed = [
            client.post(f"{almanac.whole.url}/api/admin/enter", json={"token": token}) for client in (first, second)
        ]
        statuses = sorted([response.status for response in await asyncio.gather(*pressed)])
    assert statuses == [200, 403]


# Teams


TEAMS = {"teams_app_id": "00000000-0000-0000-0000-00000000a1a1", "teams_app_password": "x"}


def test_a_bot_that_every_organisation_could_write_to_does_not_start(almanac: Attacked) -> None:
    """A multi-tenant app takes messages of all tenants there are: who may come in has to be said."""
    services = almanac.whole.services
    for type_ in ("MultiTenant", "SingleTenant", "UserAssignedMSI"):
        settings = services.settings.model_copy(update={**TEAMS, "teams_app_type": type_})
        with pytest.raises(SettingsError, match="ALMANAC_TEAMS_ALLOWED_TENANTS"):
            add_teams(aiohttp.web.Application(), _with(services, settings))


@pytest.mark.parametrize(
    ("more", "tenant", "comes_in"),
    [
        ({"teams_app_tenant_id": "own"}, "OWN", True),
        ({"teams_app_tenant_id": "own"}, "other", False),
        ({"teams_app_tenant_id": "own"}, None, False),
        ({"teams_allowed_tenants": ("partner",)}, "own", False),
        ({"teams_allowed_tenants": ("*",)}, "anybody", True),
        ({}, "anybody", False),
    ],
)
def test_only_named_organisations_come_in(almanac: Attacked, more: Any, tenant: str | None, comes_in: bool) -> None:
    door = Door(almanac.whole.services.settings.model_copy(update=TEAMS | more), keys=None)  # type: ignore[arg-type]
    url = "https://smba.trafficmanager.net/emea/"
    body: dict[str, Any] = {"channelId": "msteams", "serviceUrl": url, "conversation": {"id": "c"}}
    if tenant is not None:
        body["channelData"] = {"tenant": {"id": tenant}}
    claims = {"serviceurl": url, "endorsements": ("msteams",)}
    if comes_in:
        door.body(claims, body)
        return
    with pytest.raises(Denied, match="tenant"):
        door.body(claims, body)


def _with(services: Any, settings: Any) -> Any:
    from dataclasses import replace

    return replace(services, settings=settings)


# addresses


CLOUDS = ("168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110", "192.0.0.192", "100.100.100.200",
          "fd00:ec2::254", "fec0::1", "::a00:1", "::7f00:1", "64:ff9b:1::a00:1", "192.88.99.1")  # fmt: skip


@pytest.mark.parametrize("host", CLOUDS)
async def test_what_only_looks_public_is_not_fetched_from(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud's own services answer every machine in it, some at addresses that belong to the whole Internet."""
    assert not public(ipaddress.ip_address(host))
    with pytest.raises(Forbidden):
        check(URL.build(scheme="http", host=host), allowed=())

    async def resolved(self: Any, name: str, *_: Any, **__: Any) -> list[Any]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (host, 80))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolved)
    with pytest.raises(Forbidden):
        await Resolver(()).resolve("metadata.example.com", 80)


def test_public_addresses_are_public() -> None:
    for host in ("8.8.8.8", "168.63.129.15", "2606:4700::1111", "64:ff9b::808:808"):
        assert public(ipaddress.ip_address(host)), host


# folders


async def test_links_out_of_a_folder_are_not_read(tmp_path: Path) -> None:
    """Whoever may write into a shared folder cannot have read aloud what the worker alone may read."""
    shelf, outside = tmp_path / "shelf", tmp_path / "outside.md"
    (shelf / "inner").mkdir(parents=True)
    outside.write_text("The worker's own secret.")
    (shelf / "a.md").write_text("Deploy.")
    (shelf / "same.md").symlink_to(shelf / "a.md")
    (shelf / "out.md").symlink_to(outside)
    (shelf / "inner" / "out.md").symlink_to("../../outside.md")
    (shelf / "environ.txt").symlink_to("/proc/self/environ")
    found = (await Folder(shelf, 1_000_000).list_changes(None)).upserts
    assert [entry.external_id for entry in found] == ["a.md", "same.md"]
    assert {(await entry.load(None)).content for entry in found} == {b"Deploy."}  # type: ignore[union-attr]


async def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_read(tmp_path: Path) -> None:
    shelf, outside = tmp_path / "shelf", tmp_path / "outside.md"
    shelf.mkdir()
    outside.write_text("The worker's own secret.")
    (shelf / "a.md").write_text("Deploy.")
    [entry] = (await Folder(shelf, 1_000_000).list_changes(None)).upserts
    (shelf / "a.md").unlink()
    (shelf / "a.md").symlink_to(outside)
    with pytest.raises(DocumentUnreadable, match="leads out of its folder"):
        await entry.load(None)


async def test_one_file_that_was_named_is_read_wherever_its_link_leads(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("Deploy.")
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "a.md").symlink_to(tmp_path / "real.md")
    [entry] = (await Folder(tmp_path / "shelf", 1_000_000, only="a.md").list_changes(None)).upserts
    assert (await entry.load(None)).content == b"Deploy."  # type: ignore[union-attr]


# the queue


class Bomb:
    """What a pickle can be: a command."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._file),)


async def test_what_lies_in_the_queue_is_json_and_a_pickle_there_runs_nothing(
    almanac: Attacked, redis_url: str, url: str, tools: SampleTools, model: Double, tmp_path: Path
) -> None:
    """Whoever can write to Valkey could else run code in every worker: pickle is arq's own way."""
    pool = await connect(redis_url)
    await pool.flushdb()
    run = uuid.uuid4()
    await enqueue(pool, run)
    job = await pool.get(f"arq:job:run:{run}")
    assert job is not None
    assert job.startswith(b"{")
    assert str(run).encode() in job
    bomb = pickle.dumps({"t": 1, "f": JOB, "a": (Bomb(tmp_path / "ran"),), "k": {}, "et": 0})
    await pool.set("arq:job:bomb", bomb)
    await pool.zadd(QUEUE, {"bomb": 1})
    worker = create_worker(settings_of(tools, model), url, redis_url)
    working = asyncio.create_task(worker.async_run())
    async with asyncio.timeout(60):
        while await pool.zscore(QUEUE, "bomb") is not None or "bomb" in worker.tasks:  # not understood, and dropped
            await asyncio.sleep(0.1)
    worker.handle_sig(signal.SIGTERM)
    await asyncio.gather(working, return_exceptions=True)
    with pytest.warns(DeprecationWarning, match="aclose"):  # arq's own call of redis-py
        await worker.close()
    await pool.aclose()
    assert not (tmp_path / "ran").exists()
    assert pickle.loads(bomb)["f"] == JOB  # the bomb was a live one
    assert (tmp_path / "ran").exists()


def test_every_route_is_known(almanac: Attacked) -> None:
    """A new way in has to be thought of here: what stands before it, and why nothing else does."""
    application = create_application(almanac.whole.services)
    found = {resource.canonical for resource in application.router.resources()}
    signed = {"/slack/events", "/api/messages"}
    with_key = {"/mcp"}
    inside = {"/healthz", "/readyz", "/metrics"}  # hidden from the world by the gateways of infra/terraform
    pages = {"/", "/static/{name}", "/admin", "/admin/enter", "/passages/{chunk_id}", "/favicon.ico", "/robots.txt"}
    doors = {
        "/api/login",
        "/api/admin/login",
        "/api/admin/enter",
    }
    api = {path for path in found if path.startswith("/api/")} - signed - doors
    names = {route.resource.canonical: route.name or "" for route in application.router.routes() if route.resource}
    assert all(names[path].startswith("web.api.") for path in api)
    assert found - signed - with_key - inside - pages - doors - api == set()
