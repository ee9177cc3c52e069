"""Tools over the API, without a model: which there are for a person, what each takes, and a call."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from aiohttp import web

from assistant.commands import Caller, Reply
from assistant.services import Services
from assistant.tools import forms
from assistant.tools.model import Tool, ToolCaller
from assistant.tools.rights import principals_of
from bot.web import parsing
from bot.web.admin_shapes import respond
from bot.web.approvals import HERE, PLATFORM
from bot.web.parsing import Refused
from bot.web.people import Person, person_of

BODY = 256 * 1024
MOST_FIELDS = 200


class ToolApi:
    """What the page's forms are made of, and what they send."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, request: web.Request) -> web.Response:
        person = person_of(request)
        principals = await principals_of(self._services.sessions, person.audience, admin=False)
        caller = ToolCaller(person.name, PLATFORM, principals, place=f"user:{person.name}", alone=True)
        return respond([_described(tool) for tool in await self._services.toolbox.tools_for(caller)])

    async def call(self, request: web.Request) -> web.Response:
        """``given``: texts by field; ``request``: a UUID of the page's own, with which the same form is sent once."""
        body = await parsing.read_object(request, BODY)
        given = body.get("given")
        if not isinstance(given, dict) or len(given) > MOST_FIELDS:
            raise Refused(400, '"given" must be an object of texts.')
        if not all(isinstance(value, str) for value in given.values()):
            raise Refused(400, '"given" must be an object of texts.')
        event = None if body.get("request") is None else parsing.uuid_field(body["request"], "request")
        person = person_of(request)
        name = request.match_info["name"]
        said = {key: value.replace("\0", " ") for key, value in given.items()}
        response = respond(_reply(await self._services.commands.form(name, said, _caller(person, event))))
        person.remember(request, response)
        return response


def _caller(person: Person, event: uuid.UUID | None) -> Caller:
    return Caller(
        person.name, PLATFORM, person.audience, admin=False, language="en", place=f"user:{person.name}", name=HERE,
        event=event,
    )  # fmt: skip


def _described(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "title": tool.title or tool.name,
        "description": tool.description,
        "call": tool.call,
        "waits": tool.needs_approval,
        "fields": [asdict(field) for field in forms.fields(tool)],
    }


def _reply(reply: Reply) -> dict[str, Any]:
    approval = reply.approval
    return {
        "text": reply.text,
        "failed": reply.failed,
        "wrong": dict(reply.form.wrong) if reply.form else None,
        "table": {"header": reply.table.header, "rows": reply.table.rows} if reply.table else None,
        "approval": {"id": str(approval.id), "title": approval.title} if approval else None,
    }
