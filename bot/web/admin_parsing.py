"""What requests to the administrators' API say, checked."""

from __future__ import annotations

import re
import uuid
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

from assistant.database.insights import first_day
from bot.web import parsing
from bot.web.parsing import Refused

SPANS = (1, 7, 30, 90)
MAX_PAGE = 100
MOST_CASES = 500


@dataclass(frozen=True, slots=True)
class Span:
    """The last ``days`` days in ``zone``, today among them. ``before``: where as many days before them begin."""

    days: int
    zone: str
    since: datetime
    before: datetime
    now: datetime

    @property
    def slots(self) -> list[datetime]:
        """The hours of the one day, or the days, as the zone tells them; up to now."""
        step = timedelta(hours=1) if self.days == 1 else timedelta(days=1)
        first, last = self.since.replace(tzinfo=None), self.now.replace(tzinfo=None)
        return [first + step * n for n in range(int((last - first) / step) + 1)]


def span(request: web.Request, now: datetime | None = None) -> Span:
    """``days`` and ``zone`` of the query string."""
    days = request.query.get("days", "30")
    if days not in map(str, SPANS):
        raise Refused(400, f'"days" must be one of {", ".join(map(str, SPANS))}.')
    zone = request.query.get("zone", "UTC")
    if zone not in zoneinfo.available_timezones():
        raise Refused(400, '"zone" must be a time zone such as UTC or Europe/Berlin.')
    local = (now or datetime.now(UTC)).astimezone(zoneinfo.ZoneInfo(zone))
    since = first_day(int(days), local)
    return Span(int(days), zone, since, since - timedelta(days=int(days)), local)


def page(request: web.Request, usual: int) -> int:
    """How many rows are wanted: ``limit``."""
    return _number(request, "limit", usual, 1, MAX_PAGE)


def offset(request: web.Request) -> int:
    return _number(request, "offset", 0, 0, 1_000_000)


def _number(request: web.Request, name: str, usual: int, least: int, most: int) -> int:
    value = request.query.get(name, str(usual))
    if not re.fullmatch(r"[0-9]{1,7}", value) or not least <= int(value) <= most:
        raise Refused(400, f'"{name}" must be a number from {least:,} to {most:,}.')
    return int(value)


def before(request: web.Request) -> uuid.UUID | None:
    """The row that a page begins after."""
    value = request.query.get("before")
    return None if value is None else parsing.uuid_field(value, "before")


def before_number(request: web.Request) -> int | None:
    value = request.query.get("before")
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise Refused(400, '"before" must be a number.')
    return int(value)


def source_number(request: web.Request) -> int:
    """The source in the path; what cannot be one does not exist."""
    value = request.match_info["id"]
    if not re.fullmatch(r"[0-9]{1,17}", value):
        raise Refused(404, "There is no such source.")
    return int(value)


def version_number(request: web.Request) -> int:
    """The version in the path; what cannot be one does not exist."""
    value = request.match_info["number"]
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Refused(404, "There is no such version.")
    return int(value)


def version_field(body: dict[str, object]) -> int:
    value = body.get("version")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**9:
        raise Refused(400, '"version" must be the number of a version.')
    return value


def share_field(body: dict[str, object], most: float) -> float:
    """``share``: of conversations."""
    value = body.get("share")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= most:
        raise Refused(400, f'"share" must be a number from 0.001 to {most}.')
    return float(value)


def answer_ids(body: dict[str, object]) -> list[uuid.UUID]:
    """``answers``: the ids of some answers."""
    value = body.get("answers")
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_CASES:
        raise Refused(400, f'"answers" must be a list of 1 to {MOST_CASES} ids.')
    return [parsing.uuid_field(each, "answers") for each in value]
