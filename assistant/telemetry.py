"""Structured logs, metrics and stages, which are spans, too. Message text and secrets never reach any of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from assistant import tracing

STAGE_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry a process; the names are part of the product."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stage_seconds = Histogram(
            "almanac_stage_seconds",
            "Time in each stage of a question.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.answers = Counter(
            "almanac_answers", "Questions by outcome.", ["platform", "outcome"], registry=self.registry
        )
        self.tokens = Counter("almanac_tokens", "Model tokens.", ["model", "direction"], registry=self.registry)
        self.cost = Counter("almanac_cost_usd", "Model cost in US dollars.", ["model"], registry=self.registry)
        self.model_calls = Counter(
            "almanac_model_calls", "Requests to models.", ["model", "purpose", "outcome"], registry=self.registry
        )
        self.model_seconds = Histogram(
            "almanac_model_seconds", "Time of each request to a model.", ["model", "purpose"], buckets=STAGE_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "almanac_first_token_seconds", "From the question to the first text that is shown.", ["platform"],
            buckets=STAGE_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.cap_refusals = Counter(
            "almanac_cap_refusals", "Model calls that were not made, by the cap they could pass.", ["cap"],
            registry=self.registry,
        )  # fmt: skip
        self.cache_lookups = Counter(
            "almanac_cache_lookups", "Questions that were looked up in the cache of answers.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self.votes = Counter("almanac_votes", "Votes by value.", ["platform", "value"], registry=self.registry)
        self.events = Counter(
            "almanac_events", "Platform events by fate.", ["platform", "fate"], registry=self.registry
        )
        self.refused = Counter(
            "almanac_refused_requests", "Requests refused at the door.", ["platform", "reason"], registry=self.registry
        )
        self.queue_depth = Gauge("almanac_queue_depth", "Work that waits.", ["queue"], registry=self.registry)
        self.documents = Gauge("almanac_documents", "Documents in the index.", registry=self.registry)
        self.chunks = Gauge("almanac_chunks", "Chunks in the index.", registry=self.registry)
        self.drift = Gauge(
            "almanac_source_drift",
            "Documents that the last reconciliation found to differ from their source.",
            ["source", "what"],  # missing, changed, access, gone
            registry=self.registry,
        )
        self.failures = Gauge(
            "almanac_source_failures", "Documents that could not be read.", ["source"], registry=self.registry
        )


class Stopwatch:
    """Stage times of one question, in milliseconds, also observed as a metric."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._start = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[tracing.Span]:
        start = time.perf_counter()
        try:
            with tracing.span(name) as span:
                yield span
        finally:
            self.record(name, time.perf_counter() - start)

    def record(self, name: str, seconds: float) -> None:
        self.milliseconds[name] = round(self.milliseconds.get(name, 0.0) + seconds * 1000, 2)
        self._metrics.stage_seconds.labels(name).observe(seconds)

    def total(self) -> dict[str, float]:
        """The stages and their sum as seen from outside."""
        self.record("total", time.perf_counter() - self._start)
        return self.milliseconds


def configure_logs(level: str, form: str) -> None:
    """Logs go to stderr, one line each: JSON, or coloured text for a terminal."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tracing.stamped,
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # no local variables
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "httpx2", "slack_bolt", "slack_sdk", "aiohttp.access", "urllib3", "msal", "arq"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # warns of its own deprecations when traced
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
