"""What Prometheus is told. The names are part of the product: dashboards and alerts in ``infra`` rest on them.

Labels are few and small: no people, no channels, no ids. What a database knows better than a process (what waits, what
was spent in all) is a gauge that is read when somebody asks (``bot.measuring``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from assistant.answering.messages import Answer
from assistant.answering.outcomes import Outcome

PLATFORMS = ("slack", "teams", "web", "mcp", "terminal")
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Info("almanac_build", "The version that runs.", registry=self.registry).info({"version": version("almanac")})
        self._questions()
        self._models()
        self._tools_and_guards()
        self._platforms()
        self._index()
        self._begin_at_zero()

    def working(self, platform: str) -> AbstractContextManager[Any]:
        """Inside it, a question is in flight: however it ends, it is counted no longer."""
        return self.in_flight.labels(platform).track_inprogress()

    def answered(self, platform: str, answer: Answer) -> None:
        """Count a question that has come to its end, with the calls that it made."""
        self.answers.labels(platform, answer.outcome.value).inc()
        for call in answer.calls:
            self.tool_calls.labels(call.tool, call.outcome).inc()
            if call.outcome in ("done", "failed"):
                self.tool_seconds.labels(call.tool).observe(call.milliseconds / 1000)

    def _questions(self) -> None:
        self.answers = self._counter("answers", "Questions by outcome.", "platform", "outcome")
        self.in_flight = self._gauge("questions_in_flight", "Questions that this process works on now.", "platform")
        self.stage_seconds = self._seconds("stage_seconds", "Time in each stage of a question.", "stage")
        self.first_token = self._seconds(
            "first_token_seconds", "From the question to the first text that is shown.", "platform"
        )
        self.cache_lookups = self._counter("cache_lookups", "Questions looked up in the cache of answers.", "result")
        self.votes = self._counter("votes", "Votes by value.", "platform", "value")
        self.preferences = self._gauge(
            "preferences_share", "Conversations ordered by what votes taught, by state: promoted or canary.", "state"
        )
        self.preferences_version = self._gauge("preferences_version", "The version of each; 0: none.", "state")

    def _models(self) -> None:
        self.model_calls = self._counter("model_calls", "Requests to models.", "model", "purpose", "outcome")
        self.model_seconds = self._seconds("model_seconds", "Time of each request to a model.", "model", "purpose")
        self.tokens = self._counter("tokens", "Model tokens.", "model", "direction")
        self.cost = self._counter("cost_usd", "Model cost in US dollars.", "model")
        self.cap_refusals = self._counter("cap_refusals", "Model calls not made, by the cap they could pass.", "cap")
        self.spent = self._gauge("spent_usd", "Spent or held by everybody, in all processes.", "window")
        self.spent_tokens = self._gauge("spent_tokens", "The same in tokens.", "window")
        self.cap = self._gauge("cap_usd", "The cap for everybody, where one is set.", "window")
        self.cap_tokens = self._gauge("cap_tokens", "The same in tokens.", "window")

    def _tools_and_guards(self) -> None:
        self.tool_calls = self._counter("tool_calls", "Calls that answers asked for.", "tool", "outcome")
        self.tool_seconds = self._seconds("tool_seconds", "Time of each call that was made.", "tool")
        self.approvals = self._gauge("approvals", "Proposed changes of the last day, by state.", "state")
        self.guard_verdicts = self._counter(
            "guard_verdicts", "What the guards said, by where they looked.", "where", "verdict"
        )

    def _platforms(self) -> None:
        self.events = self._counter("events", "Platform events by fate.", "platform", "fate")
        self.refused = self._counter("refused_requests", "Requests refused at the door.", "platform", "reason")
        self.queue_depth = self._gauge("queue_depth", "Work that waits.", "queue")
        self.queue_age = self._gauge("queue_age_seconds", "How long the oldest of it has waited.", "queue")

    def _index(self) -> None:
        self.documents = self._gauge("documents", "Documents in the index.")
        self.chunks = self._gauge("chunks", "Chunks in the index.")
        # what: missing, changed, access, gone
        self.drift = self._gauge(
            "source_drift", "Documents found to differ from their source by the last reconciliation.", "source", "what"
        )
        self.failures = self._gauge("source_failures", "Documents that could not be read.", "source")
        self.failed_syncs = self._gauge("source_failed_syncs", "Syncs in a row that failed.", "source")

    def _begin_at_zero(self) -> None:
        """A rate does not see the first of what was not there before: what alerts rest on is there from the start."""
        for platform in PLATFORMS:
            self.in_flight.labels(platform)
            self.first_token.labels(platform)
            for outcome in Outcome:
                self.answers.labels(platform, outcome.value)
        for stage in ("search", "total"):
            self.stage_seconds.labels(stage)
        for cap in ("answer", "person", "channel", "day", "month"):
            self.cap_refusals.labels(cap)
        for result in ("hit", "miss"):
            self.cache_lookups.labels(result)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"almanac_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"almanac_{name}", text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"almanac_{name}", text, labels, buckets=SECONDS, registry=self.registry)


def names(metrics: Metrics) -> Sequence[str]:
    """Every time series that is told, with the suffixes of counters and histograms."""
    found = []
    for family in metrics.registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
        found += [f"{family.name}{suffix}" for suffix in suffixes.get(family.type, [""])]
    return found
