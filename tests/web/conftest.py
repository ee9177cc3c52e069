"""Almanac's web page on a real socket, over a real Postgres, with the real search."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.answering.answer import Answering
from assistant.database.session import Sessions
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.search import Searcher
from assistant.services import Services
from assistant.settings import load_settings
from assistant.telemetry import Metrics
from bot.web import add_web
from tests.browser import FLAGS, browser_path
from tests.web.library import ONCALL, ROLLBACK, SECRET, FakeModel, shelve
from tests.web.site import Site
from tests.web.watching import DESKTOP, TEXT, Watched

MAX_BODY = 1024 * 1024  # as bot.app has it


Serve = Callable[..., Awaitable[Site]]


@pytest.fixture
async def serve(engine: AsyncEngine, sessions: Sessions, embedder: TransformerEmbedder) -> AsyncIterator[Serve]:
    """Start a site: ``await serve(model, web_token="…")``."""
    async with AsyncExitStack() as stack:

        async def start(model: FakeModel | None = None, **overrides: Any) -> Site:
            model = model or FakeModel()
            services = build(engine, sessions, embedder, model, overrides)
            runner = web.AppRunner(application(services), shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return Site(f"http://127.0.0.1:{runner.addresses[0][1]}", services, model)

        yield start


def build(
    engine: AsyncEngine, sessions: Sessions, embedder: TransformerEmbedder, model: FakeModel, overrides: dict[str, Any]
) -> Services:
    settings = load_settings(**overrides)
    metrics = Metrics()
    searcher = Searcher(sessions, embedder)
    answering = Answering(
        sessions, searcher, model, metrics, max_chars=settings.question_max_chars, timeout=settings.question_timeout
    )
    return Services(settings, engine, sessions, embedder, searcher, model, answering, metrics)


def application(services: Services) -> web.Application:
    """The web front end beside another one's route, which must stay as it is."""
    app = web.Application(client_max_size=MAX_BODY)
    add_web(app, services)

    async def other(_request: web.Request) -> web.Response:
        return web.Response(text="slack")

    app.router.add_post("/slack/events", other)
    return app


@pytest.fixture
async def shelved(sessions: Sessions, embedder: TransformerEmbedder) -> None:
    await shelve(sessions, embedder, ROLLBACK, ONCALL, SECRET)


@pytest.fixture
async def site(serve: Serve, shelved: None) -> Site:
    return await serve()


@pytest.fixture
async def browser_like() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps cookies, also from an address without a name."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, one for the whole run. Playwright's own download is not used."""
    if browser_path() is None:
        pytest.skip("there is no Chromium on the PATH; `python -m tests.browser` installs it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def watched(chromium: Browser, serve: Serve, shelved: None) -> AsyncIterator[Watched]:
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    watched = Watched(context, await serve(FakeModel(TEXT)))
    yield watched
    await context.close()
    assert watched.faults == []
