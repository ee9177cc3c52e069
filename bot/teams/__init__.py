"""Teams: ``POST /api/messages`` takes activities; answers are sent proactively through the Bot Connector."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from assistant.errors import SettingsError
from assistant.services import Services
from bot.approvals import Upkeep
from bot.inbox import Inbox
from bot.pace import Pace
from bot.teams import paced
from bot.teams.approvals import ApprovalDesk
from bot.teams.deliver import PLATFORM, TeamsFrontEnd
from bot.teams.events import Malformed
from bot.teams.paced import PacedConnector
from bot.teams.receive import TeamsReceiver
from bot.teams.tokens import Denied, Door, SigningKeys, tenants_of
from bot.web.security import LOOPBACK, host_name

log = structlog.get_logger()

ROUTE = "/api/messages"


def add_teams(application: web.Application, services: Services) -> None:
    """Add the route, and the inbox that works while the application runs."""
    if services.settings.teams_anonymous and services.settings.teams_app_id:
        raise SettingsError("ALMANAC_TEAMS_ANONYMOUS=1 is for use without an app; unset it or MicrosoftAppId.")
    if services.settings.teams_app_id and not tenants_of(services.settings):
        raise SettingsError(
            "Teams lets every organisation's people write to the app, so ALMANAC_TEAMS_ALLOWED_TENANTS (or"
            " MicrosoftAppTenantId) must name whose may come in; * lets in all of them."
        )
    endpoint = _Endpoint(services)
    application.router.add_post(ROUTE, endpoint.handle)
    application.cleanup_ctx.append(endpoint.run)


class _Endpoint:
    """The HTTP side of the Bot Framework: who is let in, and what is answered."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, _application: web.Application) -> AsyncIterator[None]:
        from bot.teams.adapter import TeamsAdapter  # half a second, for those who use Teams only

        services = self._services
        async with aiohttp.ClientSession(trust_env=not services.settings.teams_anonymous) as session:
            self._door = Door(services.settings, SigningKeys(session, services.settings.teams_openid_metadata_url))
            self._adapter = TeamsAdapter(services.settings, session, self._door.may_call)
            connector = PacedConnector(self._adapter, Pace(paced.BUDGETS))
            approvals = ApprovalDesk(services, connector)
            front_end = TeamsFrontEnd(connector, services, session, self._door, approvals)
            inbox = Inbox(front_end, services.answering, services.sessions, services.settings.lease_seconds)
            self._receiver = TeamsReceiver(inbox, services, connector, approvals)
            upkeep = Upkeep(services, PLATFORM, approvals.refresh)
            inbox.start()
            upkeep.start()
            yield
            await upkeep.stop()
            await inbox.stop()

    async def handle(self, request: web.Request) -> web.Response:
        try:
            body = await self._admit(request)
            status, answer = await self._adapter.dispatch(body, self._receiver)
        except Denied as error:
            self._services.metrics.refused.labels("teams", error.reason).inc()
            headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
            return web.Response(status=error.status, headers=headers)
        except Malformed:
            self._services.metrics.refused.labels("teams", "malformed").inc()
            return web.Response(status=400)
        except (SQLAlchemyError, OSError) as error:  # not stored, so Teams must deliver it again
            log.warning("teams.not_stored", error=type(error).__name__)
            return web.Response(status=500)
        return web.Response(status=status) if answer is None else web.json_response(answer, status=status)

    async def _admit(self, request: web.Request) -> dict[str, Any]:
        """The activity of a request that may come in."""
        claims = await self._door.token(request.headers.get("Authorization", ""))
        if request.content_type != "application/json":  # which no web page of another origin can send
            raise web.HTTPUnsupportedMediaType
        if self._services.settings.teams_anonymous and host_name(request.host) not in LOOPBACK:  # DNS rebinding
            raise Denied(403, "host")
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            raise Malformed("json") from None
        if not isinstance(body, dict):
            raise Malformed("json")
        self._door.body(claims, body)
        return body
