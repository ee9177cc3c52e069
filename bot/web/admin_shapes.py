"""What the administrators' API tells, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from assistant.answering.gaps import Gap
from assistant.database.approvals import Approval
from assistant.database.insights import Day, total
from assistant.database.sources import SourceRow
from assistant.spending.report import Report
from assistant.tools.showing import shown
from bot.web.admin_parsing import Span

LISTED = 10  # people, channels, … of one table of spending


def slots(span: Span, found: Sequence[Day]) -> list[dict[str, Any]]:
    """Every hour or day of the span, also those without questions. ``at`` is told in the zone."""
    known = {str(day.day): day for day in found}
    rows = []
    for slot in span.slots:
        name = str(slot) if span.days == 1 else str(slot.date())
        day = known.get(name)
        counts = {"questions": 0, "people": 0, "up": 0, "down": 0, "outcomes": {}}
        if day is not None:
            counts = {name: getattr(day, name) for name in counts}
        rows.append({"at": slot.isoformat(timespec="minutes") if span.days == 1 else name, **counts})
    return rows


def sums(found: Sequence[Day]) -> dict[str, Any]:
    return {
        "questions": sum(day.questions for day in found),
        "up": sum(day.up for day in found),
        "down": sum(day.down for day in found),
        "outcomes": total(found),
    }


def gap(found: Gap) -> dict[str, Any]:
    return {"name": found.name, "questions": [asdict(question) for question in found.questions]}


def report(found: Report, rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Mapping[str, str]) -> dict[str, Any]:
    """``rows``: how the cost is split -> whose it is, the dearest first; of each only the first are told."""
    told = found.as_json()
    for use in told["caps"]:
        use["label"] = names.get(use["name"], "")
    by = {name: {"rows": spent(some[:LISTED], names), "count": len(some)} for name, some in rows.items()}
    return {
        "since": told["since"],
        "total": told["total"],
        "caps": told["caps"],
        "settings": told["settings"],
        "by": by,
    }


def spent(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{**row, "label": names.get(str(row["name"]), "")} for row in rows]


def source(row: SourceRow) -> dict[str, Any]:
    """Without its options and its cursor."""
    names = ("id", "kind", "name", "location", "readers", "synced_at", "interval_minutes", "next_sync_at", "error",
             "failed_syncs", "drift", "reconciled_at", "documents", "failures")  # fmt: skip
    return {name: getattr(row, name) for name in names}


def approval(found: Approval, private: bool) -> dict[str, Any]:
    """The call; its arguments stay out where only the requester may read what they come from."""
    look = shown(found, "en")
    return {
        "id": found.id, "number": found.number, "title": look.title, "call": look.call, "state": found.state,
        "status": look.status, "rows": [] if private else look.rows, "private": private,
        "requester": found.requester_name or found.requester, "decided": found.decided_name or found.decided_by,
        "platform": found.platform, "created_at": found.created_at, "expires_at": found.expires_at,
        "decided_at": found.decided_at,
    }  # fmt: skip


def respond(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", charset="utf-8")
