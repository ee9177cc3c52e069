"""Approvals over the API: how one stands, and a decision about it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from assistant.database.approvals import Approval
from assistant.errors import NotFound
from assistant.services import Services
from assistant.tools.rights import Refusal, concerns, may_decide, principals_of
from assistant.tools.showing import as_json
from bot.web import parsing
from bot.web.admin_shapes import respond
from bot.web.parsing import Refused
from bot.web.people import Person, person_of

PLATFORM = "web"
BODY = 4 * 1024
HERE = ""  # whoever is at the page: it knows nobody's name


class ApprovalApi:
    """Those who asked and those who may decide see an approval; to others there is none."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, request: web.Request) -> web.Response:
        person = person_of(request)
        approval, principals = await self._visible(request, person)
        return respond(_with_rights(approval, person, principals))

    async def decide(self, request: web.Request) -> web.Response:
        body = await parsing.read_object(request, BODY)
        decision, seen = body.get("decision"), parsing.text_field(body, "hash", limit=100)
        if decision not in ("approve", "deny"):
            raise Refused(400, '"decision" must be approve or deny.')
        person = person_of(request)
        approval, principals = await self._visible(request, person)
        try:
            ended = await self._services.approvals.decide(
                approval.id, person.name, principals, decision == "approve", seen, name=HERE, platform=PLATFORM
            )
        except Refusal as error:
            raise Refused(403, str(error)) from None
        return respond(_with_rights(ended, person, principals))

    async def _visible(self, request: web.Request, person: Person) -> tuple[Approval, frozenset[str]]:
        approval_id = parsing.uuid_field(request.match_info["id"], "id")
        principals = await principals_of(self._services.sessions, person.audience, admin=False)
        approval = await self._services.approvals.get(approval_id)
        if approval is None or not concerns(approval, person.name, principals):
            raise NotFound("There is no such approval.")
        return approval, principals


def _with_rights(approval: Approval, person: Person, principals: frozenset[str]) -> dict[str, Any]:
    waits = approval.state == "waiting"
    return as_json(approval) | {
        "may_approve": waits and may_decide(approval, person.name, principals),
        "may_deny": waits and concerns(approval, person.name, principals),
    }
