"""What the administrators' API tells of sources, runs, guards, approvals and the audit; and the two things it does."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from aiohttp import web
from prometheus_client import Counter

from assistant.database import administration, approvals, failures, insights, sources
from assistant.services import Services
from bot.web import admin_parsing, admin_shapes, parsing
from bot.web.admin_door import ADMINISTRATOR
from bot.web.admin_shapes import respond
from bot.web.parsing import Refused

ROWS = 20
DECIDED = 10  # approvals that are over, beside those that wait


class Work:
    """Lists are told a page at a time: ``more`` says that older rows follow."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def sources(self, request: web.Request) -> web.Response:
        async with self._services.sessions() as session:
            found = await sources.listed(session)
        return respond({"sources": [admin_shapes.source(row) for row in found]})

    async def failures(self, request: web.Request) -> web.Response:
        """Why documents of a source could not be read."""
        source, offset, limit = admin_parsing.source_number(request), admin_parsing.offset(request), _limit(request)
        async with self._services.sessions() as session:
            found = await failures.failures_listed(session, offset + limit + 1, source)
        return respond({"failures": [asdict(row) for row in found[offset : offset + limit]], "more":
                        len(found) > offset + limit})  # fmt: skip

    async def sync(self, request: web.Request) -> web.Response:
        await parsing.read_object(request, 1024)
        return await command(self._services, request, f"sources sync {admin_parsing.source_number(request)}")

    async def runs(self, request: web.Request) -> web.Response:
        limit = _limit(request)
        async with self._services.sessions() as session:
            found = await administration.runs(session, limit + 1, admin_parsing.before(request))
        return respond({"runs": [asdict(row) for row in found[:limit]], "more": len(found) > limit})

    async def retry(self, request: web.Request) -> web.Response:
        await parsing.read_object(request, 1024)
        run: uuid.UUID = parsing.uuid_field(request.match_info["id"], "id")
        return await command(self._services, request, f"runs retry {run}")

    async def guard(self, request: web.Request) -> web.Response:
        """Questions that were turned away, as the database knows them; and what this process has counted."""
        span, limit = admin_parsing.span(request), _limit(request)
        count = insights.hours if span.days == 1 else insights.days
        async with self._services.sessions() as session:
            found = await count(session, span.since, span.zone)
            newest = await administration.refusals(session, span.since, limit + 1, admin_parsing.before(request))
            people = await administration.refused_people(session, span.since)
            names = await administration.names_of(session, [row.person for row in people])
        return respond(
            {
                "slots": admin_shapes.slots(span, found),
                "outcomes": insights.total(found),
                "questions": [asdict(row) for row in newest[:limit]],
                "more": len(newest) > limit,
                "people": [asdict(row) | {"label": names.get(row.person, "")} for row in people],
                "verdicts": _counted(self._services.metrics.guard_verdicts),
                "caps": _counted(self._services.metrics.cap_refusals),
            }
        )

    async def approvals(self, request: web.Request) -> web.Response:
        async with self._services.sessions() as session:
            waiting = await approvals.waiting(session)
            over = [row for row in await approvals.recent(session, 3 * DECIDED) if not row.open][:DECIDED]
            answers = [row.answer_id for row in (*waiting, *over) if row.answer_id is not None]
            private = await administration.private_among(session, answers)
        return respond(
            {
                "waiting": [admin_shapes.approval(row, row.answer_id in private) for row in waiting],
                "over": [admin_shapes.approval(row, row.answer_id in private) for row in over],
            }
        )

    async def audit(self, request: web.Request) -> web.Response:
        limit = _limit(request)
        async with self._services.sessions() as session:
            found = await administration.audited(session, limit + 1, admin_parsing.before_number(request))
            names = await administration.names_of(session, [row.person for row in found])
        rows = [asdict(row) | {"label": names.get(row.person, "")} for row in found[:limit]]
        return respond({"entries": rows, "more": len(found) > limit})


async def command(services: Services, request: web.Request, words: str, confirmed: bool = False) -> web.Response:
    """The command of the chats: it checks, does, and writes down who did it."""
    reply = await services.commands.run(words, request[ADMINISTRATOR].caller(), confirmed)
    text = reply.text.replace("**", "")
    if reply.failed:
        raise Refused(409, text)
    return respond({"text": text, "run": reply.run_id})


def _limit(request: web.Request) -> int:
    return admin_parsing.page(request, ROWS)


def _counted(counter: Counter) -> list[dict[str, Any]]:
    """What this process has counted since it began; what is at nought is left out."""
    return [
        {**sample.labels, "count": int(sample.value)}
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    ]
