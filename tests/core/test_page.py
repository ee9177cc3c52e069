"""Pages of the web: fetched with limits, and never from inside our own network unless it is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from assistant.errors import DocumentUnreadable
from workers.ingestion.guard import Resolver
from workers.ingestion.page import Fetcher

INSIDE = "lies inside a private network; ALMANAC_FETCH_ALLOWED_HOSTS"


async def _page(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    answers: dict[str, Any] = {
        "guide": lambda: web.Response(text="<h1>Guide</h1>", content_type="text/html"),
        "notes.md": lambda: web.Response(text="# Notes", content_type="text/plain"),
        "report": lambda: web.Response(body=b"%PDF-1.7", content_type="application/pdf"),
        "gone": lambda: web.Response(status=410),
        "broken": lambda: web.Response(status=503),
        "large": lambda: web.Response(body=b"x" * 70_000),
        "moved": lambda: web.HTTPFound("/guide"),
        "loop": lambda: web.HTTPFound("/loop"),
        "inwards": lambda: web.HTTPFound("http://169.254.169.254/latest/meta-data"),
        "elsewhere": lambda: web.HTTPFound("file:///etc/passwd"),
    }
    if name == "slow":
        await asyncio.sleep(30)
    answer = answers[name]()
    if isinstance(answer, web.HTTPException):
        raise answer
    return answer


@pytest.fixture
async def site() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/{name}", _page)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def fetcher(*allowed: str) -> Fetcher:
    return Fetcher(allowed, 50_000, aiohttp.ClientTimeout(total=1.0))


@pytest.mark.parametrize(
    ("path", "name", "where"),
    [
        ("guide", "guide.html", "guide"),
        ("notes.md", "notes.md", "notes.md"),
        ("report", "report.pdf", "report"),
        ("moved#part", "guide.html", "guide"),
    ],
)
async def test_a_page_is_named_by_what_it_is(site: str, path: str, name: str, where: str) -> None:
    page = await fetcher("127.0.0.1").get(f"{site}/{path}")
    assert page is not None
    assert (page.name, page.url) == (name, f"{site}/{where}")
    assert page.content


async def test_a_page_that_is_gone_is_none(site: str) -> None:
    assert await fetcher("127.0.0.1").get(f"{site}/gone") is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("broken", "the server answered 503 Service Unavailable"),
        ("large", "the page is too large (ALMANAC_FILE_MAX_MB is 0.0476837)"),
        ("loop", "the address redirects more than 5 times"),
        ("slow", "the server did not answer in time"),
        ("inwards", f"169.254.169.254 {INSIDE}"),
        ("elsewhere", "only http and https addresses are fetched"),
    ],
)
async def test_what_cannot_be_had_has_its_reason(site: str, path: str, reason: str) -> None:
    with pytest.raises(DocumentUnreadable) as caught:
        await fetcher("127.0.0.1").get(f"{site}/{path}")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/guide",
        "http://localhost:{port}/guide",
        "http://[::1]:{port}/guide",
        "http://[::ffff:127.0.0.1]:{port}/guide",
        "http://[64:ff9b::7f00:1]:{port}/guide",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:{port}/guide",
    ],
)
async def test_nothing_inside_is_fetched(site: str, address: str) -> None:
    with pytest.raises(DocumentUnreadable, match=INSIDE):
        await fetcher("wiki.internal").get(address.format(port=site.rsplit(":", 1)[1]))


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001"])
async def test_no_spelling_of_an_address_leads_inside(site: str, host: str) -> None:
    with pytest.raises(DocumentUnreadable, match=f"{INSIDE}|gave no readable answer|cannot be reached"):
        await fetcher().get(f"http://{host}:{site.rsplit(':', 1)[1]}/guide")


async def test_a_name_that_turns_inwards_the_second_time_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: what is connected to is what was checked."""
    port = int(site.rsplit(":", 1)[1])
    loop = asyncio.get_running_loop()
    answers = iter(["93.184.216.34", "127.0.0.1"])

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    [first] = await Resolver(frozenset()).resolve("rebind.example", port)
    assert first["host"] == "93.184.216.34"
    with pytest.raises(DocumentUnreadable, match=INSIDE):
        await fetcher().get(f"http://rebind.example:{port}/guide")


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    with pytest.raises(DocumentUnreadable, match="the server cannot be reached"):
        await fetcher("127.0.0.1").get(f"http://127.0.0.1:{unused_tcp_port}/")
