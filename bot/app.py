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

    async def ready(_request: web.Request) -> web.Response:
        try:
            await check_database(services.engine)
        except AlmanacError as error:
            return web.json_response({"status": "not ready", "reason": str(error)}, status=503)
        return web.json_response({"status": "ready"})

    async def metrics(_request: web.Request) -> web.Response:
        await measure(services)
        body = generate_latest(services.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application.router.add_get("/healthz", alive)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", metrics)
