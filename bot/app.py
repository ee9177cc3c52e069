"""One aiohttp application for every front end, with health, readiness and metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from assistant.errors import AlmanacError
from assistant.services import Services, check_database
from bot.mcp.app import add_mcp
from bot.measuring import measure
from bot.slack import add_slack
from bot.teams import add_teams
from bot.web import add_web
from bot.web.security import LOOPBACK, host_name

MAX_BODY = 1024 * 1024  # bytes; no platform sends events larger than this


def create_application(services: Services) -> web.Application:
    """The application with the routes of each front end that is configured."""
    application = web.Application(client_max_size=MAX_BODY)
    _add_operations(application, services)
    add_web(application, services)
    add_mcp(application, services)
    if services.settings.has_slack:
        add_slack(application, services)
    if services.settings.has_teams:
        add_teams(application, services)
    return application


def _add_operations(application: web.Application, services: Services) -> None:
    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    def check_name(request: web.Request) -> None:
        """A page whose name was re-pointed at this machine (DNS rebinding) reads nothing here either."""
        if services.settings.web_token is None and host_name(request.host) not in LOOPBACK:
            services.metrics.refused.labels("operations", "host").inc()
            raise web.HTTPForbidden(text="Without ALMANAC_WEB_TOKEN, Almanac answers only to 127.0.0.1.")

    async def ready(request: web.Request) -> web.Response:
        check_name(request)
        try:
            await check_database(services.engine)
        except AlmanacError as error:
            return web.json_response({"status": "not ready", "reason": str(error)}, status=503)
        return web.json_response({"status": "ready"})

    async def metrics(request: web.Request) -> web.Response:
        check_name(request)
        await measure(services)
        body = generate_latest(services.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application.router.add_get("/healthz", alive)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", metrics)
