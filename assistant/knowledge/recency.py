"""Of two passages that fit a question about equally well, the newer document's comes first. A tie-break, and no more.

A passage's score is taken to be higher by at most ``most`` for its age: all of it for the newest document among those
found, half of that where the document is a year older. So a lead of more than ``most`` is never overtaken, documents of
one day stay as they are, and an archive in which everything is old is ordered as one in which all is new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

HALF = 365.0  # days
_DAY = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?")


def day(details: Mapping[str, Any], indexed_at: datetime | None) -> date | None:
    """The day of a document: what it says itself, else what its source says, else when this state of it was first read
    (as ``after:`` and ``before:`` take it)."""
    for name in ("updated", "modified"):
        match = _DAY.match(str(details.get(name) or ""))
        if match:
            try:
                return date(int(match[1]), int(match[2]), int(match[3] or 1))
            except ValueError:
                continue
    return indexed_at.date() if indexed_at else None


def order(scores: Sequence[float], days: Sequence[date | None], most: float) -> list[int]:
    """The places of passages with these scores (best first) and days, best first. Equal ones stay as they are; one
    without a day counts as the oldest."""
    known = [one for one in days if one is not None]
    if not known or most <= 0:
        return list(range(len(scores)))
    newest, oldest = max(known), min(known)
    ages = [(newest - (one or oldest)).days for one in days]
    raised = [score + most * 0.5 ** (age / HALF) for score, age in zip(scores, ages, strict=True)]
    return sorted(range(len(scores)), key=lambda place: (-raised[place], place))
