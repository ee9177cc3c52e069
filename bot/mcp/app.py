"""The server over streamable HTTP at ``/mcp`` and over stdio (``almanac mcp``).

Programs come in with a key that a person made (``/almanac mcp new``), and see what that person may read. With
``ALMANAC_WEB_TOKEN``, that token opens what everyone may read; without it, this machine may come in without any.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import access
from assistant.database.access import PREFIX, Holder
from assistant.knowledge.audience import Audience
from assistant.services import Services
from bot.mcp import bridge
from bot.mcp.server import create_server
from bot.mcp.tools import PLATFORM, Desk
from bot.web.security import AWAY, LOOPBACK, as_sent, bearer_of, host_name, origin_of

log = structlog.get_logger()

SCOPE_KEY = "almanac.holder"
MAX_BODY = 256 * 1024
ANYBODY = Holder(f"{PLATFORM}:anybody", PLATFORM, Audience.everyone(), "en")


class Door:
    """Whom a request speaks for, or why it does not come in."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._token = settings.web_token.get_secret_value().encode() if settings.web_token else None
        self._own = {origin_of(settings.public_url)} if settings.public_url else set()

    async def holder(self, request: web.Request) -> Holder:
        """Raises an HTTP error with one sentence."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._own and origin != f"{request.scheme}://{request.host}":
            raise self._refused(web.HTTPForbidden, "origin", "Pages of other sites may not ask.")
        if self._token is None and host_name(request.host) not in LOOPBACK:
            raise self._refused(web.HTTPForbidden, "host", "Without ALMANAC_WEB_TOKEN, only 127.0.0.1 is served.")
        bearer = bearer_of(request) or ""
        if bearer.startswith(PREFIX):
            async with self._services.sessions.begin() as session:
                holder = await access.holder_of(session, bearer)
            if holder is not None:
                return holder
        elif self._opens(bearer):
            return ANYBODY
        raise self._refused(web.HTTPUnauthorized, "token", "Send a key as Authorization: Bearer (`/almanac mcp new`).")

    def _opens(self, bearer: str) -> bool:
        """What everyone may read: by the page's token, or, where there is none, without any."""
        return not bearer if self._token is None else hmac.compare_digest(as_sent(bearer), self._token)

    def _refused(self, kind: type[web.HTTPError], reason: str, sentence: str) -> web.HTTPError:
        self._services.metrics.refused.labels(PLATFORM, reason).inc()
        headers = {"WWW-Authenticate": 'Bearer realm="almanac"'} if kind is web.HTTPUnauthorized else {}
        return kind(text=sentence, headers=headers)


def add_mcp(application: web.Application, services: Services) -> None:
    """Add ``/mcp``. Nothing is kept between requests, so that any bot behind a balancer can serve the next one."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    door = Door(services)
    server = create_server(Desk(services), lambda request: request.scope[SCOPE_KEY])
    manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MAX_BODY)

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            holder = await door.holder(request)
        except (SQLAlchemyError, OSError) as error:
            log.warning("mcp.database_away", error=type(error).__name__)
            raise web.HTTPServiceUnavailable(text=AWAY) from error
        return await bridge.respond(request, manager.handle_request, {SCOPE_KEY: holder})

    async def run(started: asyncio.Event, over: asyncio.Event) -> None:
        async with manager.run():
            started.set()
            await over.wait()

    async def running(_application: web.Application) -> AsyncIterator[None]:
        """The manager is left in the task that entered it, which the server's start and end need not share."""
        started, over = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(run(started, over), name="mcp-sessions")
        await started.wait()
        yield
        over.set()
        await task

    application.cleanup_ctx.append(running)
    application.router.add_route("*", "/mcp", handle, name="mcp")
