"""Services and rotations as the handbook's workbook has them, and the people who are on call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl

from assistant.sample import HANDBOOK

LONDON = ZoneInfo("Europe/London")
WORKBOOK = HANDBOOK / "services" / "catalogue.xlsx"
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH = date(2026, 1, 5)  # a Monday: weeks are counted from here
_FIRST = ("Ailsa", "Bram", "Chidi", "Dagny", "Emeka", "Femke", "Gwilym", "Hedda", "Ines", "Jory", "Kavita", "Lowri",
          "Mateus", "Nadia", "Oisin", "Petra", "Quillon", "Roos", "Stellan", "Tamsin", "Udo", "Vesna", "Wout", "Yara",
          "Zofia")  # fmt: skip
_LAST = ("Ashworth", "Bakker", "Castellan", "Dekker", "Eastwood", "Fairley", "Goossens", "Hartley", "Ibarra", "Janssen",
         "Kowalczyk", "Lindqvist", "Mbeki", "Novak", "Oduya", "Pritchard", "Quaye")  # fmt: skip
_PARTNERS = {"edge-daytime": "edge-primary", "payments-secondary": "payments-primary"}  # the same team's people


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    description: str
    team: str
    language: str
    port: int
    tier: int
    slo: str
    datastore: str
    rotation: str
    dashboard: str
    repository: str
    channel: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """``weekday`` counts from Monday; ``at`` is ``HH:MM`` in London."""

    name: str
    covers: tuple[str, ...]
    kind: str
    people: tuple[str, ...]
    weekday: int
    at: str
    lead: str
    director: str

    def on_call(self, now: datetime) -> tuple[str, datetime, datetime]:
        """Who has the pager at ``now`` (with a time zone), since when, and until when."""
        local = now.astimezone(LONDON)
        hour, minute = map(int, self.at.split(":"))
        day = local.date() - timedelta(days=(local.weekday() - self.weekday) % 7)
        since = datetime(day.year, day.month, day.day, hour, minute, tzinfo=LONDON)
        if since > local:
            since -= timedelta(days=7)
        week = (since.date() - _EPOCH).days // 7
        shift = len(self.people) // 2 if self.name in _PARTNERS else 0  # nobody has two pagers at once
        return self.people[(week + shift) % len(self.people)], since, since + timedelta(days=7)

    def paged(self, now: datetime) -> bool:
        """Whether an alert would be sent now: rotations of business hours wait for the morning."""
        local = now.astimezone(LONDON)
        return self.kind == "round the clock" or (local.weekday() < 5 and 8 <= local.hour < 18)


@dataclass(frozen=True, slots=True)
class Catalogue:
    services: dict[str, Service]
    rotations: dict[str, Rotation]


def read_catalogue(path: Path = WORKBOOK) -> Catalogue:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        services = {}
        for row in _rows(book, "Services"):
            services[row[0]] = Service(
                row[0], row[1], row[2], row[3], int(row[4]), int(row[5]), row[6], row[7], row[8], row[9], row[10],
                row[11],
            )  # fmt: skip
        rotations: dict[str, Rotation] = {}
        for row in _rows(book, "On-call rotations"):
            partner = rotations.get(_PARTNERS.get(row[0], ""))
            taken = sum(len(each.people) for each in rotations.values() if each.name not in _PARTNERS)
            people = partner.people if partner else _people(taken, int(row[3]))
            covers = tuple(part.strip() for part in row[1].split(","))
            rotations[row[0]] = Rotation(
                row[0], covers, row[2], people, _WEEKDAYS.index(row[4]), row[5], row[6], row[7]
            )
    finally:
        book.close()
    return Catalogue(services, rotations)


def _rows(book: openpyxl.Workbook, sheet: str) -> list[list[str]]:
    rows = book[sheet].iter_rows(min_row=2, values_only=True)
    return [["" if value is None else str(value) for value in row] for row in rows if row[0] is not None]


def _people(taken: int, count: int) -> tuple[str, ...]:
    """So many people whom no rotation before has; 25 and 17 have no common factor, so no name comes twice."""
    return tuple(f"{_FIRST[at % 25]} {_LAST[at % 17]}" for at in range(taken, taken + count))
