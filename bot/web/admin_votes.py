"""What the administrators' API tells of what votes taught, and what is done about it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from assistant.database.preferences import NoSuchVersion
from assistant.errors import NotFound
from assistant.preferences import showing
from assistant.services import Services
from bot.web import admin_parsing, parsing
from bot.web.admin_shapes import respond
from bot.web.admin_work import command

BODY = 1024
MOST_SHARE = 0.5


class Votes:
    """Every change is the command of the chats, so that it is checked, done and written down in one way."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def status(self, request: web.Request) -> web.Response:
        """What is in force, what is tried and what that proves, and the versions, the newest first."""
        async with self._services.sessions() as session:
            return respond(await showing.status(session, self._services.settings))

    async def version(self, request: web.Request) -> web.Response:
        """One version: what it was made of, what it is worth, and what it changes."""
        number = admin_parsing.version_number(request)
        try:
            async with self._services.sessions() as session:
                return respond(await showing.report(session, number))
        except NoSuchVersion as error:
            raise NotFound(str(error)) from None

    async def act(self, request: web.Request) -> web.Response:
        """``learn``, ``promote``, ``canary`` or ``rollback``."""
        body = await parsing.read_object(request, BODY)
        words = _command(request.match_info["act"], body)
        return await command(self._services, request, f"preferences {words}", confirmed=True)


def _command(act: str, body: dict[str, Any]) -> str:
    if act == "learn":
        return act
    if act == "promote":
        return f"{act} {admin_parsing.version_field(body)}"
    if act == "canary":
        return f"{act} {admin_parsing.version_field(body)} {admin_parsing.share_field(body, MOST_SHARE)}"
    if act == "rollback":
        return f"{act} all" if body.get("all") is True else act
    raise NotFound("This cannot be done with what votes taught.")
