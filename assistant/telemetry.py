"""Structured logs, metrics and stages, which are spans, too. Message text and secrets never reach any of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from assistant import tracing
from assistant.metrics import Metrics

__all__ = ["Metrics", "Stopwatch", "configure_logs"]


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

    def guarded(self, where: str, verdict: str) -> None:
        """Count what a guard said; ``where`` is question, document, tool or answer."""
        self._metrics.guard_verdicts.labels(where, verdict).inc()

    def first_shown(self, platform: str) -> None:
        """The first text of the answer is shown now; what comes after it is passed over."""
        if "first_shown" not in self.milliseconds:
            seconds = time.perf_counter() - self._start
            self.milliseconds["first_shown"] = round(seconds * 1000, 2)
            self._metrics.first_token.labels(platform).observe(seconds)

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
