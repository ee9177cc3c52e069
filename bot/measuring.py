"""Gauges that are read from the database when somebody asks for the metrics."""

from __future__ import annotations

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import preferences, sources, spending, status, waiting
from assistant.database.spending import Amount, Window
from assistant.metrics import Metrics
from assistant.services import Services
from assistant.spending.budget import Budget

log = structlog.get_logger()

PLATFORMS = ("slack", "teams")
STATES = ("waiting", "running", "done", "failed", "denied", "expired", "void", "unknown")


async def measure(services: Services) -> None:
    """A database that is away leaves the last values."""
    try:
        async with services.sessions() as session:
            await session.execute(text("SET LOCAL statement_timeout = '2s'"))
            await _measure(session, services.metrics, Budget(services.sessions, services.settings))
    except (SQLAlchemyError, OSError):
        log.warning("metrics.database_away")


async def _measure(session: AsyncSession, metrics: Metrics, budget: Budget) -> None:
    events = await waiting.events(session)
    counts = await status.counts(session)
    ages = await waiting.ages(session)
    for platform in PLATFORMS:
        metrics.queue_depth.labels(f"inbox_{platform}").set(events.get(platform, 0))
        metrics.queue_age.labels(f"inbox_{platform}").set(ages.get(f"inbox_{platform}", 0))
    metrics.queue_depth.labels("runs").set(counts["runs_open"])
    metrics.queue_age.labels("runs").set(ages["runs"])
    metrics.documents.set(counts["documents"])
    metrics.chunks.set(counts["chunks"])
    for source in await sources.health(session):
        metrics.failures.labels(source.name).set(source.failures)
        for what, number in (source.drift or {}).items():
            metrics.drift.labels(source.name, what).set(number)
    for name, failed in (await waiting.failed_syncs(session)).items():
        metrics.failed_syncs.labels(name).set(failed)
    approvals = await waiting.approvals(session)
    for state in STATES:
        metrics.approvals.labels(state).set(approvals.get(state, 0))
    await _preferences(session, metrics)
    await _spending(session, metrics, budget)


async def _preferences(session: AsyncSession, metrics: Metrics) -> None:
    now = {one.state: one for one in await preferences.in_force(session)}
    tried = now["canary"].share or 0.0 if "canary" in now else 0.0
    shares = {"canary": tried, "promoted": 1 - tried if "promoted" in now else 0.0}
    for state, share in shares.items():
        metrics.preferences.labels(state).set(share)
        metrics.preferences_version.labels(state).set(now[state].id if state in now else 0)


async def _spending(session: AsyncSession, metrics: Metrics, budget: Budget) -> None:
    today = budget.today()
    sums = await spending.totals(session, today)
    for window in (Window("day", "", today), Window("month", "", today.replace(day=1))):
        amount, cap = sums.get(window, Amount()), budget.caps.of[window.scope]
        metrics.spent.labels(window.scope).set(float(amount.usd))
        metrics.spent_tokens.labels(window.scope).set(amount.tokens)
        if cap.usd is not None:
            metrics.cap.labels(window.scope).set(float(cap.usd))
        if cap.tokens is not None:
            metrics.cap_tokens.labels(window.scope).set(cap.tokens)
