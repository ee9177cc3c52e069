"""The web page and its JSON API, to try Almanac without Slack or Teams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiohttp import web

from assistant.services import Services
from bot.approvals import Upkeep
from bot.web import security
from bot.web.admin import add_admin
from bot.web.admin_door import AdminDoor
from bot.web.approvals import ApprovalApi
from bot.web.assets import Assets
from bot.web.routes import Api, Pages
from bot.web.tools import ToolApi


def add_web(application: web.Application, services: Services) -> None:
    """Add the page, its files and its API, and the guard in front of them. Routes of others are not touched."""
    door = security.Door(services.settings, services.metrics)
    admins = AdminDoor(services, door)
    application.middlewares.append(security.guard(door, admins.check))
    application.on_response_prepare.append(security.add_headers)
    assets = Assets.load()
    pages, api, approvals = Pages(assets, door, admins), Api(services), ApprovalApi(services)
    tools = ToolApi(services)
    router = application.router
    router.add_get("/", pages.page, name="web.page")
    router.add_get("/passages/{chunk_id}", pages.page, name="web.page.passage")
    router.add_get("/static/{name}", pages.static, name="web.static")
    router.add_post("/api/login", pages.login, name="web.login")
    router.add_post("/api/ask", api.ask, name="web.api.ask")
    router.add_post("/api/votes", api.vote, name="web.api.votes")
    router.add_get("/api/conversations/{id}", api.conversation, name="web.api.conversation")
    router.add_get("/api/passages/{chunk_id}", api.passage, name="web.api.passage")
    router.add_get("/api/search", api.search, name="web.api.search")
    router.add_get("/api/approvals/{id}", approvals.show, name="web.api.approvals")
    router.add_post("/api/approvals/{id}", approvals.decide, name="web.api.approvals.decide")
    router.add_get("/api/tools", tools.list, name="web.api.tools")
    router.add_post("/api/tools/{name}", tools.call, name="web.api.tools.call")
    add_admin(router, services, assets, admins)
    application.cleanup_ctx.append(_upkeep(services))


def _upkeep(services: Services) -> Callable[[web.Application], AsyncIterator[None]]:
    """What waits for approval runs out of time, whichever front ends there are."""

    async def running(_application: web.Application) -> AsyncIterator[None]:
        upkeep = Upkeep(services, "web")
        upkeep.start()
        yield
        await upkeep.stop()

    return running
