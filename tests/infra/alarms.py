"""What happens in the tests of the alerts: series of which each alert goes off, and series of which it must not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

HOUR = 3600.0
NOW = 40 * 24 * HOUR
Told = tuple[str, Mapping[str, str], Callable[[float], float | None]]


def grows(name: str, per_hour: float, since: float = 0.0, **labels: str) -> Told:
    """A counter; ``since``: seconds before now from which on it grows."""
    begins = NOW - since if since else 0.0
    return (name, labels, lambda at: max(0.0, at - begins) * per_hour / HOUR)


def stands(name: str, value: float, **labels: str) -> Told:
    return (name, labels, lambda _: value)


def answers(failed: float, good: float = 100.0, since: float = 0.0, nothing: float = 0.0) -> tuple[Told, ...]:
    return (
        grows("almanac_answers_total", good, platform="slack", outcome="answered"),
        grows("almanac_answers_total", nothing, platform="slack", outcome="not_in_documents"),
        grows("almanac_answers_total", failed, since, platform="slack", outcome="failed"),
    )


def first_text(seconds: float) -> tuple[Told, ...]:
    """Questions of which nine in ten take ``seconds``, and the rest a tenth of a second."""
    edges = [0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf]
    return tuple(
        grows(
            "almanac_first_token_seconds_bucket", 100.0 if edge >= seconds else 10.0, platform="slack",
            le="+Inf" if math.isinf(edge) else str(edge),
        )
        for edge in edges
    )  # fmt: skip


def calls(good: float, failed: float) -> tuple[Told, ...]:
    return (
        grows("almanac_model_calls_total", good, model="m", purpose="write", outcome="done"),
        grows("almanac_model_calls_total", failed, model="m", purpose="write", outcome="failed"),
    )


def in_flight(*of_bots: float) -> tuple[Told, ...]:
    """Bots that have so many questions in flight."""
    up = [stands("up", 1, job="almanac", instance=str(n)) for n, _ in enumerate(of_bots)]
    questions = [
        stands("almanac_questions_in_flight", value, platform="web", instance=str(n)) for n, value in enumerate(of_bots)
    ]
    return (*up, *questions)


def tools(done: float, failed: float) -> tuple[Told, ...]:
    return (
        grows("almanac_tool_calls_total", done, tool="t", outcome="done"),
        grows("almanac_tool_calls_total", failed, tool="t", outcome="failed"),
    )


def blocked(per_hour: float, since: float = 0.0) -> tuple[Told, ...]:
    return (
        grows("almanac_guard_verdicts_total", 2.0, where="question", verdict="block"),
        grows("almanac_guard_verdicts_total", per_hour, since, where="document", verdict="block"),
    )


GOES_OFF: dict[str, list[tuple[Told, ...]]] = {
    "AlmanacDown": [(stands("up", 0, job="almanac", instance="a"),)],
    "AlmanacErrorsFast": [answers(failed=10)],
    "AlmanacErrorsSlow": [answers(failed=4), answers(failed=10)],
    "AlmanacFirstTextSlow": [first_text(10.0)],
    "AlmanacBusy": [in_flight(10, 8), (*in_flight(20, 3), stands("up", 0, job="almanac", instance="gone"))],
    "AlmanacManyUnanswered": [answers(0, good=10, nothing=10)],
    "AlmanacCostNearCap": [
        (stands("almanac_spent_usd", 9, window="day"), stands("almanac_cap_usd", 10, window="day")),
    ],
    "AlmanacCapReached": [(grows("almanac_cap_refusals_total", 40, 600, cap="channel"),)],
    "AlmanacQueueStuck": [
        (stands("almanac_queue_age_seconds", 300, queue="inbox_slack"),),
        (stands("almanac_queue_age_seconds", 3600, queue="runs"),),
    ],
    "AlmanacQueueLong": [(stands("almanac_queue_depth", 200, queue="runs"),)],
    "AlmanacSourceDrift": [(
        stands("almanac_source_drift", 15, source="1 wiki", what="missing"),
        stands("almanac_source_drift", 15, source="1 wiki", what="gone"),
    )],
    "AlmanacSourceFailing": [(stands("almanac_source_failed_syncs", 3, source="1 wiki"),)],
    "AlmanacDocumentsUnreadable": [(stands("almanac_source_failures", 60, source="1 wiki"),)],
    "AlmanacModelErrors": [calls(good=100, failed=50)],
    "AlmanacToolErrors": [tools(done=5, failed=30)],
    "AlmanacGuardSurge": [blocked(100, since=600)],
}  # fmt: skip
STAYS_QUIET: dict[str, list[tuple[Told, ...]]] = {
    "AlmanacDown": [(stands("up", 1, job="almanac", instance="a"), stands("up", 0, job="other", instance="b"))],
    "AlmanacErrorsFast": [answers(failed=0), answers(failed=4), answers(failed=10, since=60), ()],
    "AlmanacErrorsSlow": [answers(failed=1), answers(failed=400, since=60)],
    "AlmanacFirstTextSlow": [first_text(2.5), ()],
    "AlmanacBusy": [in_flight(10, 6), in_flight(0, 0), ()],
    "AlmanacManyUnanswered": [answers(0, good=10, nothing=5), answers(0, good=1, nothing=1)],
    "AlmanacCostNearCap": [
        (stands("almanac_spent_usd", 7, window="day"), stands("almanac_cap_usd", 10, window="day")),
        (stands("almanac_spent_usd", 900, window="day"),),  # no cap
        (stands("almanac_spent_usd", 9, window="month"), stands("almanac_cap_usd", 10, window="day")),
    ],
    "AlmanacCapReached": [(stands("almanac_cap_refusals_total", 40, cap="channel"),)],
    "AlmanacQueueStuck": [
        (
            stands("almanac_queue_age_seconds", 60, queue="inbox_slack"),
            stands("almanac_queue_age_seconds", 900, queue="runs"),
        ),
    ],
    "AlmanacQueueLong": [(stands("almanac_queue_depth", 100, queue="runs"),)],
    "AlmanacSourceDrift": [(
        stands("almanac_source_drift", 15, source="1", what="gone"),
        stands("almanac_source_drift", 15, source="2", what="gone"),
    )],
    "AlmanacSourceFailing": [(stands("almanac_source_failed_syncs", 2, source="1 wiki"),)],
    "AlmanacDocumentsUnreadable": [(stands("almanac_source_failures", 50, source="1 wiki"),)],
    "AlmanacModelErrors": [calls(good=100, failed=5), calls(good=3, failed=3)],
    "AlmanacToolErrors": [tools(done=100, failed=30), tools(done=0, failed=2)],
    "AlmanacGuardSurge": [blocked(100), blocked(20, since=600)],
}  # fmt: skip

# What people read, of each of the scenes above.
SAYS: dict[str, list[str]] = {
    "AlmanacDown": ["Almanac at a does not answer."],
    "AlmanacErrorsFast": ["9.091% of the questions fail."],
    "AlmanacErrorsSlow": ["3.846% of the questions fail, for hours.", "9.091% of the questions fail, for hours."],
    "AlmanacFirstTextSlow": ["One question in twenty waits more than 9.722s for the first text."],
    "AlmanacBusy": ["Each bot works on 9 questions at a time.", "Each bot works on 11.5 questions at a time."],
    "AlmanacManyUnanswered": ["50% of the questions find nothing in the documents."],
    "AlmanacCostNearCap": ["90% of the day's cap is spent."],
    "AlmanacCapReached": ["Questions go unanswered, for the cap of one channel."],
    "AlmanacQueueStuck": [
        "The oldest work in inbox_slack has waited for 5m 0s.", "The oldest work in runs has waited for 1h 0m 0s.",
    ],
    "AlmanacQueueLong": ["200 wait in runs."],
    "AlmanacSourceDrift": ["30 documents of 1 wiki differed from their source."],
    "AlmanacSourceFailing": ["1 wiki could not be read 3 times in a row."],
    "AlmanacDocumentsUnreadable": ["60 documents of 1 wiki could not be read."],
    "AlmanacModelErrors": ["33.33% of the calls of m fail or break off."],
    "AlmanacToolErrors": ["Most calls of t fail."],
    "AlmanacGuardSurge": ["The guard blocks far more than usual in documents."],
}  # fmt: skip
