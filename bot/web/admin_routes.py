"""The administrators' page, and what its API tells of questions, gaps and cost."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import orjson
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import administration, insights, spending, status
from assistant.errors import NotFound
from assistant.evaluation.collecting import cases
from assistant.guardrails.redacting import redact
from assistant.services import Services
from assistant.spending import report as reporting
from assistant.spending.budget import Budget
from assistant.spending.report import numbers
from bot.web import admin_parsing, admin_shapes, parsing
from bot.web.admin_door import ADMINISTRATOR, AdminDoor
from bot.web.admin_gaps import MOST, Gaps
from bot.web.admin_shapes import respond
from bot.web.assets import Assets

SMALL_BODY = 16 * 1024
CASES_BODY = 64 * 1024
ROWS, GAPS = 20, 15
SPLITS = ("model", "person", "channel", "purpose")


class AdminPages:
    """The page, the form in front of it, and what a link opens."""

    def __init__(self, assets: Assets, admins: AdminDoor) -> None:
        self._assets = assets
        self._admins = admins

    async def page(self, request: web.Request) -> web.Response:
        if await self._admins.administrator(request) is None:
            return self._assets.respond(request, "admin-login.html", status=401)
        return self._unkept(request, "admin.html")

    async def enter(self, request: web.Request) -> web.Response:
        return self._unkept(request, "admin-enter.html")

    def _unkept(self, request: web.Request, name: str) -> web.Response:
        """Not kept by the browser, so that "back" shows no figures to whoever comes after a sign-out."""
        response = self._assets.respond(request, name)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def login(self, request: web.Request) -> web.Response:
        body = await parsing.read_object(request, SMALL_BODY)
        return self._admins.sign_in(request, parsing.text_field(body, "token", limit=1_000))

    async def open_link(self, request: web.Request) -> web.Response:
        body = await parsing.read_object(request, SMALL_BODY)
        return await self._admins.open_link(request, parsing.text_field(body, "token", limit=200))

    async def leave(self, request: web.Request) -> web.Response:
        return await self._admins.leave(request)


class Figures:
    """Private answers are in none of it but as numbers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._budget = Budget(services.sessions, services.settings)
        self._gaps = Gaps(services.sessions, services.embedder)

    async def me(self, request: web.Request) -> web.Response:
        who = request[ADMINISTRATOR]
        leaves = who.how == "link" or (who.how == "token" and self._services.settings.admin_token is not None)
        return respond({"name": who.name, "how": who.how, "until": who.until, "leaves": leaves})

    async def overview(self, request: web.Request) -> web.Response:
        span = admin_parsing.span(request)
        async with self._services.sessions() as session:
            found = await insights.days(session, span.before, span.zone)
            told = await insights.hours(session, span.since, span.zone) if span.days == 1 else found
            people = await administration.people(session, span.since)
            latencies = await insights.latencies(session, span.since)
            platforms = await insights.platforms(session, span.since)
            cited = await insights.cited(session, span.since)
            index = await status.counts(session)
        first = span.since.date()
        earlier, now = [day for day in found if day.day < first], [day for day in found if day.day >= first]
        return respond(
            {
                "days": span.days,
                "since": span.since,
                "slots": admin_shapes.slots(span, told),
                "total": admin_shapes.sums(now) | {"people": people},
                "before": admin_shapes.sums(earlier),
                "latency": [asdict(row) for row in latencies],
                "platforms": [asdict(row) for row in platforms],
                "cited": [asdict(row) for row in cited],
                "index": index,
            }
        )

    async def gaps(self, request: web.Request) -> web.Response:
        span, offset = admin_parsing.span(request), admin_parsing.offset(request)
        limit = admin_parsing.page(request, GAPS)
        questions, found = await self._gaps.since(span.since)
        return respond(
            {
                "questions": len(questions),
                "newest_only": len(questions) == MOST,
                "gaps": [admin_shapes.gap(gap) for gap in found[offset : offset + limit]],
                "count": len(found),
            }
        )

    async def cases(self, request: web.Request) -> web.Response:
        """Questions as cases for ``almanac eval answers``, one a line, without what identifies a person."""
        body = await parsing.read_object(request, CASES_BODY)
        async with self._services.sessions() as session:
            found = await administration.as_open(session, admin_parsing.answer_ids(body))
        if not found:
            raise NotFound("There are no such questions (any more).")
        lines = b"".join(orjson.dumps(case) + b"\n" for case in cases(found, _redacted))
        headers = {"Content-Disposition": 'attachment; filename="cases.jsonl"'}
        return web.Response(body=lines, content_type="application/x-ndjson", charset="utf-8", headers=headers)

    async def spending(self, request: web.Request) -> web.Response:
        first = self._first_day(request)
        async with self._services.sessions() as session:
            found = await reporting.report(session, self._budget, "day", first.isoformat())
            rows = {by: await self._spent(session, first, by) for by in SPLITS}
            listed = [row["name"] for row in rows["person"][: admin_shapes.LISTED]]
            names = await administration.names_of(session, [*listed, *(use.name for use in found.caps)])
        days = [numbers(row) for row in found.rows]
        return respond(admin_shapes.report(found, rows, names) | {"days": days, "zone": str(self._budget.zone)})

    async def spending_rows(self, request: web.Request) -> web.Response:
        """More rows of one split."""
        by, offset = request.match_info["by"], admin_parsing.offset(request)
        if by not in SPLITS:
            raise NotFound("The cost is not split like that.")
        async with self._services.sessions() as session:
            rows = await self._spent(session, self._first_day(request), by)
            some = rows[offset : offset + admin_parsing.page(request, ROWS)]
            names = await administration.names_of(session, [row["name"] for row in some]) if by == "person" else {}
        return respond({"rows": admin_shapes.spent(some, names), "count": len(rows)})

    def _first_day(self, request: web.Request) -> date:
        """The days of the caps begin where their setting says, whatever the viewer's zone."""
        return self._budget.today() - timedelta(days=admin_parsing.span(request).days - 1)

    async def _spent(self, session: AsyncSession, first: date, by: str) -> list[dict[str, Any]]:
        return [numbers(row) for row in await spending.spent(session, first, by)]


def _redacted(text: str) -> str:
    return redact([text], frozenset({"secrets", "pii"})).text
