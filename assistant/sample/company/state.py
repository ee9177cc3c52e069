"""What happens at the sample company while its API runs: versions, restarts, incidents. Kept in memory."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assistant.sample.company.catalogue import Catalogue

ROLLING = timedelta(seconds=45)  # pods go one fifth at a time
MANUAL = frozenset({"ledger", "doorman", "gateway"})  # whose promotion a person presses (deploy/pipeline.md)
CANARY = {"ledger": 2, "doorman": 1, "gateway": 3}  # per cent of the traffic; 5 for the rest
ENVIRONMENTS = ("production", "staging")


class Conflict(Exception):
    """The thing is in a state in which this cannot be done; the text says which."""


@dataclass(frozen=True, slots=True)
class Restart:
    id: str
    service: str
    environment: str
    reason: str
    started_at: datetime

    def at(self, now: datetime) -> dict[str, Any]:
        done = now >= self.started_at + ROLLING
        ready = 5 if done else int((now - self.started_at) / ROLLING * 5)
        return asdict(self) | {"state": "done" if done else "rolling", "pods_ready": f"{ready} of 5"}


@dataclass(frozen=True, slots=True)
class Incident:
    id: str
    severity: str
    title: str
    service: str
    state: str  # open, acknowledged, resolved
    opened_at: datetime
    acknowledged_at: datetime | None = None
    note: str | None = None


@dataclass(slots=True)
class State:
    """``began`` is when the process did; what was before it is told relative to that."""

    catalogue: Catalogue
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    restarts: list[Restart] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hour = timedelta(hours=1)
        for incident in (
            Incident("INC-2291", "SEV3", "Late delivery of webhooks to one merchant", "hookshot", "open",
                     self.began - 2 * hour),
            Incident("INC-2288", "SEV2", "Quotes slow for EU merchants", "rate-quoter", "acknowledged",
                     self.began - 26 * hour, self.began - 26 * hour + timedelta(minutes=9),
                     "Cache was cold after a deployment."),
            Incident("INC-2279", "SEV3", "Stale stock dashboard", "stockroom", "resolved", self.began - 120 * hour,
                     self.began - 119 * hour, "The nightly job had stopped."),
        ):  # fmt: skip
            self.incidents[incident.id] = incident

    def restart(self, service: str, environment: str, reason: str, now: datetime) -> dict[str, Any]:
        last = self.last_restart(service, environment)
        if last is not None and now < last.started_at + ROLLING:
            raise Conflict(f"{service} is restarting in {environment} already ({last.id}).")
        restart = Restart(f"R-{1_001 + len(self.restarts)}", service, environment, reason, now)
        self.restarts.append(restart)
        return restart.at(now)

    def last_restart(self, service: str, environment: str | None = None) -> Restart | None:
        found = (each for each in reversed(self.restarts)
                 if each.service == service and environment in (None, each.environment))  # fmt: skip
        return next(found, None)

    def acknowledge(self, number: str, note: str, now: datetime) -> Incident:
        incident = self.incidents[number]
        if incident.state != "open":
            raise Conflict(f"{number} is {incident.state} already.")
        self.incidents[number] = replace(incident, state="acknowledged", acknowledged_at=now, note=note)
        return self.incidents[number]

    def deployment(self, service: str) -> dict[str, Any]:
        """Which version is where. Numbers follow from the name, so that they are the same at every start."""
        number = int(hashlib.sha256(service.encode()).hexdigest()[:6], 16)
        week = (self.began - timedelta(hours=number % 60 + 3)).isocalendar()
        build = number % 5 + 2
        here, before = f"{week.year}.{week.week}.{build}", f"{week.year}.{week.week}.{build - 1}"
        deployed = self.began - timedelta(hours=number % 60 + 3)
        canary = number % 4 == 0
        versions = {"staging": f"{week.year}.{week.week}.{build + 1}" if canary else here, "production": here,
                    "previous": before}  # fmt: skip
        stage = {"stage": "canary", "canary_percent": CANARY.get(service, 5)} if canary else {"stage": "production"}
        return {
            "service": service, "versions": versions, **stage, "deployed_at": deployed,
            "promotion": "manual" if service in MANUAL else "automatic", "hold": None,
        }  # fmt: skip
