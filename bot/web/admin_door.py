"""Who comes in to the administrators' page.

With ``ALMANAC_ADMIN_TOKEN`` that token opens it, else whatever opens the page does. An administrator of Slack or Teams
comes in without either: the command ``admin`` makes a link that opens a session once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from assistant.commands import Caller
from assistant.database import admin_links, audit
from assistant.database.admin_links import GRANTED_HOURS, SESSION_HOURS, Visitor
from assistant.knowledge.audience import Audience
from assistant.services import Services
from bot.web.people import is_https, person_of
from bot.web.security import Door, TokenDoor

PLATFORM = "web"
ADMIN_COOKIE = "almanac_admin"
VISITOR_COOKIE = "almanac_visitor"
TOKEN_SECONDS = 8 * 3600
SIGN_IN = "Sign in as an administrator, or write `admin` to Almanac in a direct message for a link."
NOT_ENOUGH = "This is for administrators: it needs ALMANAC_ADMIN_TOKEN, or the link that the command `admin` makes."


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who is at the page. ``how``: ``open`` (this machine, no token), ``token``, or ``link``; ``until``: of a link."""

    person: str
    name: str
    how: str
    until: datetime | None = None

    def caller(self) -> Caller:
        """The same for the commands: they say what they do in English, as the page does."""
        audience = Audience.person(PLATFORM, self.person.removeprefix(f"{PLATFORM}:"))
        return Caller(self.person, PLATFORM, audience, True, "en", f"user:{self.person}", name=self.name)


ADMINISTRATOR = web.RequestKey("administrator", Administrator)


class AdminDoor:
    """Decides who is an administrator, at every request."""

    def __init__(self, services: Services, door: Door) -> None:
        token = services.settings.admin_token
        self._services = services
        self._door = door
        self._token = (
            TokenDoor(token.get_secret_value(), ADMIN_COOKIE, "almanac admin", TOKEN_SECONDS) if token else None
        )

    async def check(self, request: web.Request) -> None:
        """Raise ``Refused`` unless the request is an administrator's; the handler finds whose it is in the request."""
        found = await self.administrator(request)
        if found is None:
            known = self._token is not None and not self._door.is_open and self._door.knows(request)
            raise self._door.refused(403 if known else 401, "admin", NOT_ENOUGH if known else SIGN_IN)
        request[ADMINISTRATOR] = found

    async def administrator(self, request: web.Request) -> Administrator | None:
        """A link's session names somebody, so that it comes before a token, which names nobody."""
        visitor = await self._visitor(request)
        if visitor is not None:
            return Administrator(visitor.person, visitor.name, "link", visitor.until)
        opened = self._token.knows(request) if self._token is not None else self._door.knows(request)
        if not opened:
            return None
        how = "open" if self._token is None and self._door.is_open else "token"
        return Administrator(person_of(request).name, "", how)

    async def _visitor(self, request: web.Request) -> Visitor | None:
        secret = request.cookies.get(VISITOR_COOKIE, "")
        if not secret:
            return None
        async with self._services.sessions() as session:
            visitor = await admin_links.visitor_of(session, secret)
        return visitor if visitor is not None and self._still(visitor) else None

    def _still(self, visitor: Visitor) -> bool:
        """Whether the visitor is an administrator as much as when the link was made."""
        settings = self._services.settings
        return settings.slack_workspace_admins if visitor.granted else visitor.person in settings.admins

    def sign_in(self, request: web.Request, token: str) -> web.Response:
        if self._token is None:
            return self._door.sign_in(request, token)
        if not self._token.opens(token):
            raise self._door.refused(401, "admin", "That is not the administrators' token.")
        response = web.json_response({"signed_in": True})
        self._token.remember(request, response)
        return response

    async def open_link(self, request: web.Request, token: str) -> web.Response:
        """The session that a link stands for."""
        async with self._services.sessions.begin() as session:
            opened = await admin_links.open_session(session, token)
            if opened is None or not self._still(opened[1]):
                raise self._door.refused(
                    403, "link", "This link was opened before, or its time is over; write `admin` for a new one."
                )
            secret, visitor = opened
            await audit.record(session, visitor.person, PLATFORM, "admin open", "")
        response = web.json_response({"signed_in": True})
        seconds = 3600 * (GRANTED_HOURS if visitor.granted else SESSION_HOURS)
        response.set_cookie(
            VISITOR_COOKIE, secret, max_age=seconds, httponly=True, samesite="Lax", secure=is_https(request)
        )
        return response

    async def leave(self, request: web.Request) -> web.Response:
        """The end of a session."""
        async with self._services.sessions.begin() as session:
            await admin_links.end_session(session, request.cookies.get(VISITOR_COOKIE, ""))
        response = web.json_response({"signed_in": False})
        for cookie in (VISITOR_COOKIE, ADMIN_COOKIE):
            response.del_cookie(cookie, httponly=True, samesite="Lax", secure=is_https(request))
        return response
