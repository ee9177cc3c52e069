"""What ``/metrics`` tells, from a real database, and that it stays there when the database is away."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from assistant.answering.messages import Answer, ToolUse, Usage
from assistant.answering.outcomes import Outcome
from assistant.database import runs
from assistant.database.session import Sessions
from assistant.metrics import Metrics, names
from assistant.settings import Settings
from assistant.spending.budget import Budget, OverBudget
from assistant.telemetry import Stopwatch
from bot.measuring import measure
from tests.spending.test_budget import question, settings_with


class Parts:
    """What ``measure`` needs of the services."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self.sessions = sessions
        self.settings = settings
        self.metrics = Metrics()


def told(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As a scrape reads it."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for it in families for sample in it.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return told(metrics)[name, tuple(sorted(labels.items()))]


@pytest.fixture
async def parts(sessions: Sessions) -> Any:
    parts = Parts(sessions, settings_with(cap_day_usd=1.0, cap_month_tokens=5000))
    async with sessions.begin() as session:
        await runs.create(session, "ingest", {})
        waits = await runs.create(session, "ingest", {})
        await session.execute(text("UPDATE runs SET created_at = now() - interval '90 s'"))
        await session.execute(
            text(
                "UPDATE runs SET not_before = now() + interval '1 h', created_at = now() - interval '1 d'"
                " WHERE id = :id"
            ),
            {"id": waits},
        )
        await session.execute(
            text(
                "INSERT INTO inbox (platform, event_id, message_key, payload, received_at)"
                " VALUES ('slack', 'e', 'm', '{}', now() - interval '30 s')"
            )
        )
        await session.execute(
            text(
                "INSERT INTO sources (kind, location, name, failed_syncs, drift) VALUES ('git', 'x', 'wiki', 2, :drift)"
            ),
            {"drift": '{"gone": 3}'},
        )
        await session.execute(text("UPDATE corpus_statistics SET chunks = 7"))
    purse = Budget(sessions, parts.settings, parts.metrics).purse(question(), uuid.uuid4())
    async with purse.call("m", prompt_tokens=100, completion_tokens=50, purpose="write") as call:
        call.used(Usage(80, 20, 0.25), cached_tokens=40)
    return parts


async def test_the_database_is_read_when_somebody_asks(parts: Any) -> None:
    await measure(parts)
    metrics = parts.metrics
    assert value(metrics, "almanac_queue_depth", queue="runs") == 2
    assert value(metrics, "almanac_queue_depth", queue="inbox_slack") == 1
    assert 90 <= value(metrics, "almanac_queue_age_seconds", queue="runs") < 900  # the one that waits does not count
    assert 30 <= value(metrics, "almanac_queue_age_seconds", queue="inbox_slack") < 900
    assert value(metrics, "almanac_queue_age_seconds", queue="inbox_teams") == 0
    assert value(metrics, "almanac_chunks") == 7
    ((source, failed),) = [
        (dict(labels)["source"], it)
        for (name, labels), it in told(metrics).items()
        if name == "almanac_source_failed_syncs"
    ]
    assert source.endswith(" wiki")
    assert failed == 2
    assert value(metrics, "almanac_source_drift", source=source, what="gone") == 3
    assert value(metrics, "almanac_spent_usd", window="day") == 0.25
    assert value(metrics, "almanac_spent_tokens", window="month") == 100
    assert value(metrics, "almanac_cap_usd", window="day") == 1
    assert value(metrics, "almanac_cap_tokens", window="month") == 5000
    assert ("almanac_cap_usd", (("window", "month"),)) not in told(metrics)
    assert value(metrics, "almanac_approvals", state="waiting") == 0


async def test_a_database_that_is_away_leaves_the_last_values(parts: Any, sessions: Sessions) -> None:
    await measure(parts)
    async with sessions.begin() as session:
        await session.execute(text("ALTER TABLE runs RENAME TO gone"))
    await measure(parts)
    assert value(parts.metrics, "almanac_queue_depth", queue="runs") == 2


async def test_model_calls_are_counted_with_what_they_took(parts: Any) -> None:
    metrics = parts.metrics
    assert value(metrics, "almanac_model_calls_total", model="m", purpose="write", outcome="done") == 1
    assert value(metrics, "almanac_model_seconds_count", model="m", purpose="write") == 1
    assert value(metrics, "almanac_cost_usd_total", model="m") == 0.25
    assert value(metrics, "almanac_tokens_total", model="m", direction="prompt") == 80
    assert value(metrics, "almanac_tokens_total", model="m", direction="cached_prompt") == 40
    budget = Budget(parts.sessions, settings_with(cap_day_usd=0.26), metrics)
    with pytest.raises(OverBudget):
        await budget.purse(question()).reserve("m", 100, 50)
    assert value(metrics, "almanac_cap_refusals_total", cap="day") == 1


def test_an_answer_is_counted_with_its_calls() -> None:
    metrics = Metrics()
    calls = (
        ToolUse("on_call", "On call", {}, "done", 1, 120.0),
        ToolUse("on_call", "On call", {}, "failed", 1, 80.0),
        ToolUse("restart", "Restart", {}, "proposed", 2),
    )
    metrics.answered("slack", Answer(uuid.uuid4(), Outcome.ANSWERED, "text", calls=calls))
    assert value(metrics, "almanac_answers_total", platform="slack", outcome="answered") == 1
    assert value(metrics, "almanac_answers_total", platform="slack", outcome="failed") == 0  # told before the first
    assert value(metrics, "almanac_tool_calls_total", tool="restart", outcome="proposed") == 1
    assert value(metrics, "almanac_tool_seconds_count", tool="on_call") == 2
    assert value(metrics, "almanac_tool_seconds_sum", tool="on_call") == pytest.approx(0.2)


def test_the_first_text_is_timed_once() -> None:
    metrics = Metrics()
    watch = Stopwatch(metrics)
    watch.first_shown("web")
    watch.first_shown("web")
    assert value(metrics, "almanac_first_token_seconds_count", platform="web") == 1
    assert 0 <= watch.milliseconds["first_shown"] <= watch.total()["total"]


def test_names_are_what_a_scrape_reads() -> None:
    metrics = Metrics()
    series = {name for name, _ in told(metrics) if not name.endswith("_created")}
    assert series <= set(names(metrics))
    assert "almanac_build_info" in series
