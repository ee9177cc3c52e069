"""Wires Slack to the assistant: requests in, the inbox between, answers out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.exc import SQLAlchemyError

from assistant.services import Services
from assistant.strings import detect
from bot.approvals import Upkeep
from bot.inbox import Inbox
from bot.slack import actions, approvals, commands, deletion, files, submit, unfurl
from bot.slack.api import CALL_SECONDS, Api, new_pace
from bot.slack.deliver import SlackFrontEnd
from bot.slack.door import refusal
from bot.slack.events import PLATFORM
from bot.slack.handlers import register
from bot.slack.people import People
from bot.slack.socket_mode import SocketMode
from bot.slack.workplace import Workplace

log = structlog.get_logger()

PATH = "/slack/events"

JOBS = {
    "command": commands.run_command,
    "approval": approvals.decide,
    "files": files.add_files,
    "person": actions.ask_person,
    "share": actions.share,
    "unfurl": unfurl.unfurl,
    "direct": submit.open_direct,
    "deleted": deletion.take_away,
    "nothing": deletion.nothing,
}


def add_slack(application: web.Application, services: Services) -> Workplace:
    """Add Slack over HTTP, Socket Mode or both, as the settings say. Nothing is contacted before the start-up."""
    slack = _Slack(services)
    settings = services.settings
    if settings.slack_signing_secret is not None:
        verifier = SignatureVerifier(settings.slack_signing_secret.get_secret_value())
        application.router.add_post(PATH, _endpoint(slack, verifier))
    application.cleanup_ctx.append(slack.lifetime)
    return slack.place


class _Slack:
    """The parts of the front end, and their start and end."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self.services = services
        self.logger = _quiet_logger()
        self.client = self._client(settings.slack_bot_token.get_secret_value() if settings.slack_bot_token else None)
        api = Api(self.client, new_pace())
        people = People(api, services.roles, settings.slack_workspace_admins)
        self.place = Workplace(services, api, people)
        self.place.inbox = Inbox(
            SlackFrontEnd(self.place, JOBS), services.answering, services.sessions, settings.lease_seconds
        )
        self.upkeep = Upkeep(services, PLATFORM, lambda approval: approvals.refresh(self.place, approval))
        self.bolt = _bolt(self)

    async def lifetime(self, _application: web.Application) -> AsyncIterator[None]:
        """Everything that runs, from the application's start to its end."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS)) as http:
            self.client.session = self.place.api.http = http
            self.place.inbox.start()
            self.upkeep.start()
            self.place.spawn(asyncio.to_thread(detect, "warm up"), "slack-languages")  # half a second, once
            socket = self._socket(http)
            if socket is not None:
                socket.start()
            try:
                yield
            finally:
                if socket is not None:
                    await socket.stop()
                await self.upkeep.stop()
                await self.place.inbox.stop()
                await self.place.close(CALL_SECONDS)

    def _client(self, token: str | None) -> AsyncWebClient:
        """Never retries by itself: a message whose fate is unknown must be looked up before it is sent again."""
        return AsyncWebClient(
            token,
            base_url=self.services.settings.slack_api_base_url,
            timeout=int(CALL_SECONDS),
            retry_handlers=[],
            logger=self.logger,
        )

    def _socket(self, http: aiohttp.ClientSession) -> SocketMode | None:
        token = self.services.settings.slack_app_token
        if token is None:
            return None
        client = self._client(None)
        client.session = http
        return SocketMode(self.bolt, client, token.get_secret_value(), self.logger)


def _bolt(slack: _Slack) -> AsyncApp:
    """Bolt parses and routes. What it would do about the bot's own messages and its token is done without a call."""
    secret = slack.services.settings.slack_signing_secret

    async def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=slack.client.token)

    async def failed(error: Exception) -> BoltResponse:
        expected = isinstance(error, SQLAlchemyError | OSError)  # whose text would hold the message
        log.warning("slack.not_acknowledged", error=type(error).__name__, exc_info=None if expected else error)
        return BoltResponse(status=500, body="")

    app = AsyncApp(
        name="slack_bolt.almanac",
        logger=slack.logger,
        signing_secret=secret.get_secret_value() if secret is not None else "",
        client=slack.client,
        authorize=authorize,
        process_before_response=True,  # so that a listener's failure is not acknowledged
        ignoring_self_events_enabled=False,  # ``Message.from_event`` ignores every bot
        attaching_conversation_kwargs_enabled=False,
    )
    register(app, slack.place)
    app.error(failed)
    return app


def _endpoint(slack: _Slack, verifier: SignatureVerifier) -> Any:
    async def endpoint(request: web.Request) -> web.Response:
        body = await request.read()
        reason = refusal(verifier, request.headers, body)
        if reason is not None:
            slack.services.metrics.refused.labels(PLATFORM, reason).inc()
            return web.Response(status=401)
        try:
            asked = AsyncBoltRequest(body=body.decode(), query=request.query_string, headers=dict(request.headers))
        except (ValueError, AttributeError):  # signed, and yet no JSON object
            slack.services.metrics.refused.labels(PLATFORM, "bad_body").inc()
            return web.Response(status=400)
        return await to_aiohttp_response(await slack.bolt.async_dispatch(asked))

    return endpoint


def _quiet_logger() -> logging.Logger:
    """The SDKs' warnings repeat whole requests, their errors addresses with tickets; what matters is logged by us."""
    logger = logging.getLogger("slack_bolt.almanac")
    logger.setLevel(logging.CRITICAL)
    return logger
