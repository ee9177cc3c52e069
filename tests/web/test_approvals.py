"""Calls that wait for approval, on the page and over its API."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.session import Sessions
from assistant.tools.rights import ADMINISTRATORS, REQUESTER
from tests.tools.asking import TEXT, Asking
from tests.tools.board import Board
from tests.web.client import answer, conversation_id, refusal
from tests.web.conftest import application, build
from tests.web.library import FakeModel
from tests.web.site import Site
from tests.web.watching import DESKTOP

Json = dict[str, Any]
Start = Callable[..., Awaitable[Site]]


@pytest.fixture
def board() -> Board:
    board = Board()
    board.change("restart_service", approvers=(REQUESTER,))
    return board


@pytest.fixture
async def start(engine: AsyncEngine, sessions: Sessions, board: Board) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(**arguments: Any) -> Site:
            model = FakeModel()
            services = replace(build(engine, sessions, None, model, {}), toolbox=board)  # type: ignore[arg-type]
            services = replace(services, answering=Asking(services, board, arguments or {"service": "checkout"}))
            runner = web.AppRunner(application(services), shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return Site(f"http://127.0.0.1:{runner.addresses[0][1]}", services, model)

        yield begin


@pytest.fixture
async def site(start: Start) -> Site:
    return await start()


def other_browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def asked(client: aiohttp.ClientSession, site: Site) -> Json:
    done = await answer(client, site.url, "Restart checkout", conversation=conversation_id())
    [pending] = done["approvals"]
    return dict(pending)


def decide(client: aiohttp.ClientSession, site: Site, pending: Json, decision: str = "approve", **body: Any) -> Any:
    body = {"decision": decision, "hash": pending["arguments_hash"], **body}
    return client.post(f"{site.url}/api/approvals/{pending['id']}", json=body)


async def shown(client: aiohttp.ClientSession, site: Site, pending: Json) -> Json:
    async with client.get(f"{site.url}/api/approvals/{pending['id']}") as response:
        assert response.status == 200
        return dict(await response.json())


# the API


async def test_an_approved_call_runs_once(site: Site, browser_like: aiohttp.ClientSession, board: Board) -> None:
    pending = await asked(browser_like, site)
    now = await shown(browser_like, site, pending)
    assert (now["state"], now["may_approve"], now["may_deny"]) == ("waiting", True, True)
    assert now["rows"] == [["service", '"checkout"']]
    board.on_call = lambda: asyncio.sleep(0.2)

    async def approve() -> Json:
        async with decide(browser_like, site, pending) as response:
            assert response.status == 200
            return dict(await response.json())

    ended = await asyncio.gather(*(approve() for _ in range(4)))
    assert sorted(it["state"] for it in ended) == ["done", "running", "running", "running"]
    assert (await approve())["state"] == "done"
    now = await shown(browser_like, site, pending)
    assert (now["result"], now["may_approve"], now["may_deny"]) == ("checkout restarts", False, False)
    assert board.restarts == ["checkout"]


async def test_to_others_there_is_no_such_approval(
    site: Site, browser_like: aiohttp.ClientSession, board: Board
) -> None:
    pending = await asked(browser_like, site)
    async with other_browser() as stranger:
        async with stranger.get(f"{site.url}/api/approvals/{pending['id']}") as response:
            assert await refusal(response, 404) == "There is no such approval."
        for decision in ("approve", "deny"):
            async with decide(stranger, site, pending, decision) as response:
                await refusal(response, 404)
    async with browser_like.get(f"{site.url}/api/approvals/{uuid.uuid4()}") as response:
        await refusal(response, 404)
    assert board.keys == []


async def test_whoever_asked_may_only_take_back_what_others_approve_of(
    site: Site, browser_like: aiohttp.ClientSession, board: Board
) -> None:
    board.change("restart_service", approvers=(ADMINISTRATORS,))
    pending = await asked(browser_like, site)
    now = await shown(browser_like, site, pending)
    assert (now["may_approve"], now["may_deny"]) == (False, True)
    async with decide(browser_like, site, pending) as response:
        assert "yourself" in await refusal(response, 403)
    async with decide(browser_like, site, pending, "deny") as response:
        assert (await response.json())["state"] == "denied"
    assert board.keys == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"decision": "maybe"}, 400),
        ({"decision": None}, 400),
        ({"hash": None}, 400),
        ({"hash": "x" * 101}, 400),
    ],
)
async def test_a_decision_that_is_none_is_refused(
    site: Site, browser_like: aiohttp.ClientSession, board: Board, body: Json, status: int
) -> None:
    pending = await asked(browser_like, site)
    async with decide(browser_like, site, pending, **body) as response:
        await refusal(response, status)
    assert (await shown(browser_like, site, pending))["state"] == "waiting"


async def test_another_hash_voids_it(site: Site, browser_like: aiohttp.ClientSession, board: Board) -> None:
    pending = await asked(browser_like, site)
    async with decide(browser_like, site, pending, hash="0" * 64) as response:
        assert (await response.json())["state"] == "void"
    async with decide(browser_like, site, pending) as response:
        assert (await response.json())["state"] == "void"
    assert board.keys == []


async def test_another_sites_page_decides_nothing(
    site: Site, browser_like: aiohttp.ClientSession, board: Board
) -> None:
    pending = await asked(browser_like, site)
    body = {"decision": "approve", "hash": pending["arguments_hash"]}
    url = f"{site.url}/api/approvals/{pending['id']}"
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        async with browser_like.post(url, json=body, headers=headers) as response:
            await refusal(response, 403)
    async with browser_like.post(url, data="decision=approve") as response:
        await refusal(response, 415)
    assert board.keys == []


async def test_without_anybody_looking_time_runs_out(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.approvals.EVERY_SECONDS", 0.1)
    pending = await asked(browser_like, site)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE approvals SET expires_at = now()"))
    async with asyncio.timeout(60):
        while True:
            async with sessions() as session:
                if (await session.execute(text("SELECT state FROM approvals"))).scalar_one() == "expired":
                    break
            await asyncio.sleep(0.1)
    assert (await shown(browser_like, site, pending))["status"].startswith("Nobody decided in time")


# the page


@pytest.fixture
async def page(chromium: Browser, site: Site) -> AsyncIterator[Page]:
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(site.url)
    await page.get_by_label("Your question").fill("Restart checkout")
    await page.keyboard.press("Enter")
    await expect(page.locator(".approval .status")).to_contain_text("Waiting for approval")
    yield page
    await context.close()
    assert faults == []


async def test_the_card_on_the_page_asks_once_more_and_then_says_what_came_of_it(page: Page, board: Board) -> None:
    await expect(page.locator(".answer")).to_have_text(TEXT.replace("**", ""))
    card = page.get_by_role("region", name="Approval: Restart a service")
    await expect(card.locator(".call")).to_have_text("POST /services/{service}/restart")
    await expect(card.locator("tr")).to_have_text(['service"checkout"'])
    await card.get_by_role("button", name="Approve").click()
    await card.get_by_role("button", name="Back").click()
    assert board.keys == []
    await card.get_by_role("button", name="Approve").click()
    await card.get_by_role("button", name="Run it").dblclick()
    await expect(card.locator(".status")).to_contain_text(": done")
    await expect(card.locator("pre").first).to_have_text("checkout restarts")
    await expect(card.get_by_role("button")).to_have_count(0)
    assert board.restarts == ["checkout"]
    await page.reload()
    await expect(page.locator(".approval .status")).to_contain_text(": done")


async def test_the_card_on_the_page_follows_what_others_decide(page: Page, site: Site, board: Board) -> None:
    async with site.services.sessions() as session:
        approval_id = (await session.execute(text("SELECT id FROM approvals"))).scalar_one()
    approval = await site.services.approvals.get(approval_id)
    assert approval is not None
    await site.services.approvals.decide(
        approval_id, approval.requester, frozenset(), False, approval.arguments_hash, name="Anna"
    )
    await expect(page.locator(".approval .status")).to_contain_text("Taken back by Anna", timeout=15_000)
    await expect(page.locator(".approval button")).to_have_count(0)
    assert board.keys == []


async def test_a_decision_that_does_not_get_through_says_so_and_can_be_made_again(
    page: Page, site: Site, board: Board
) -> None:
    await page.route("**/api/approvals/*", lambda route: route.abort())
    await page.get_by_role("button", name="Approve").click()
    await page.get_by_role("button", name="Run it").click()
    await expect(page.locator(".approval .said")).to_contain_text("Almanac cannot be reached")
    await page.unroute("**/api/approvals/*")
    await page.get_by_role("button", name="Approve").click()
    await page.get_by_role("button", name="Run it").click()
    await expect(page.locator(".approval .status")).to_contain_text(": done")
    assert board.restarts == ["checkout"]


async def test_markup_in_arguments_stays_text(chromium: Browser, start: Start, board: Board) -> None:
    board.change("restart_service", parameters={"type": "object", "properties": {"note": {}, "<b>": {}}})
    site = await start(note='<img src=x onerror="document.title=1">\n\u202e', **{"<b>": [1, {"a": None}]})
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_label("Your question").fill("Restart checkout")
    await page.keyboard.press("Enter")
    await expect(page.locator(".approval td", has_text="onerror")).to_contain_text(r"\n\u202e")
    assert await page.locator(".approval img").count() == 0
    await context.close()
