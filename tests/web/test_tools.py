"""Tools without a model, on the page and over its API."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
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
from assistant.tools.rights import REQUESTER
from tests.slack.test_tools import PROPERTIES
from tests.slack.world import FakeEmbedder
from tests.tools.board import Board
from tests.web.client import refusal
from tests.web.conftest import application, build
from tests.web.library import FakeModel
from tests.web.site import Site
from tests.web.watching import DESKTOP

Json = dict[str, Any]


@pytest.fixture
def board() -> Board:
    board = Board()
    schema = {"type": "object", "properties": PROPERTIES, "required": ["service"]}
    board.change("restart_service", parameters=schema, approvers=(REQUESTER,))
    return board


@pytest.fixture
async def site(engine: AsyncEngine, sessions: Sessions, board: Board) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        model = FakeModel()
        services = replace(build(engine, sessions, FakeEmbedder(), model, {}), toolbox=board)  # type: ignore[arg-type]
        runner = web.AppRunner(application(services), shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", services, model)


async def call(client: aiohttp.ClientSession, site: Site, name: str, given: Any, **body: Any) -> Json:
    async with client.post(f"{site.url}/api/tools/{name}", json={"given": given, **body}) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def test_tools_are_listed_with_their_fields(
    site: Site, browser_like: aiohttp.ClientSession, board: Board
) -> None:
    async with browser_like.get(f"{site.url}/api/tools") as response:
        restart, status = await response.json()
    assert (restart["title"], restart["waits"], status["waits"]) == ("Restart a service", True, False)
    assert restart["fields"][0]["choices"] == ["checkout", "search"]
    board.change("service_status", users=("group:sre",))
    async with browser_like.get(f"{site.url}/api/tools") as response:
        assert [tool["name"] for tool in await response.json()] == ["restart_service"]


async def test_a_read_runs_and_a_write_waits_once(
    site: Site, browser_like: aiohttp.ClientSession, board: Board, sessions: Sessions
) -> None:
    read = await call(browser_like, site, "service_status", {"service": "checkout"})
    assert read["table"]["rows"] == [["service", "checkout"]]
    wrong = await call(browser_like, site, "restart_service", {"wait": "x"})
    assert wrong["wrong"] == {"service": "needs a value", "wait": "needs a whole number"}
    request = str(uuid.uuid4())
    waits = [
        await call(browser_like, site, "restart_service", {"service": "search"}, request=request) for _ in range(2)
    ]
    assert waits[0]["approval"] == waits[1]["approval"]
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM approvals"))).scalar_one() == 1
    assert (await call(browser_like, site, "nothing", {}))["failed"]
    assert board.keys == []


@pytest.mark.parametrize("body", [{}, {"given": []}, {"given": {"a": 1}}, {"given": {}, "request": "x"}])
async def test_what_is_no_form_is_refused(site: Site, browser_like: aiohttp.ClientSession, body: Json) -> None:
    async with browser_like.post(f"{site.url}/api/tools/service_status", json=body) as response:
        await refusal(response, 400)
    headers = {"Origin": "https://evil.example"}
    async with browser_like.post(f"{site.url}/api/tools/service_status", json=body, headers=headers) as response:
        await refusal(response, 403)


@pytest.fixture
async def page(chromium: Browser, site: Site) -> AsyncIterator[Page]:
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    await page.goto(site.url)
    await page.get_by_role("button", name="Tools").click()
    yield page
    await context.close()
    assert faults == []


async def test_a_form_on_the_page_reads(page: Page) -> None:
    await page.get_by_role("button", name="Status of a service").click()
    await page.locator("#tool-service").fill("checkout")
    await page.keyboard.press("Enter")
    turn = page.locator(".turn")
    await expect(turn.get_by_role("heading", name="Status of a service")).to_be_visible()
    await expect(turn.locator("td")).to_have_text(["service", "checkout"])
    await expect(page.locator("#tools")).to_be_hidden()


async def test_a_form_on_the_page_marks_what_is_wrong_then_waits_and_runs(page: Page, board: Board) -> None:
    await page.get_by_role("button", name="Restart a service").click()
    await expect(page.locator(".mark")).to_have_count(1)
    await page.get_by_role("button", name="Ask for approval").click()
    await expect(page.locator("#tool-service-problem")).to_have_text("Needs a value.")
    await expect(page.locator("#tool-service")).to_be_focused()
    await page.locator("#tool-service").select_option("search")
    await page.get_by_label("Force").select_option("yes")
    await page.get_by_label("Day").fill("2026-05-31")
    await page.get_by_label("Labels").fill("a, b")
    await page.get_by_role("button", name="Ask for approval").click()
    card = page.get_by_role("region", name="Approval: Restart a service")
    await expect(card.locator("tr")).to_have_count(5)
    await expect(card).to_contain_text('["a", "b"]')
    assert board.keys == []
    await card.get_by_role("button", name="Approve").click()
    await card.get_by_role("button", name="Run it").click()
    await expect(card.locator(".status")).to_contain_text(": done")
    assert board.restarts == ["search"]


async def test_the_tools_can_be_used_by_keyboard(page: Page) -> None:
    await page.keyboard.press("Escape")
    await expect(page.locator("#tools")).to_be_hidden()
    await expect(page.get_by_role("button", name="Tools")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Tools")).to_be_visible()


async def test_without_tools_there_is_no_button(chromium: Browser, site: Site, board: Board) -> None:
    board.tools = []
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(site.url)
    await expect(page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
    await expect(page.get_by_role("button", name="Tools")).to_be_hidden()
    await context.close()
