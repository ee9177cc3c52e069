"""What Prometheus is told of the model server: its requests, and what the engine says of itself when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workers.serving.requests import Stats, Usage

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 60)
OTHER = "other"  # a model that is not served: names that people make up are no labels


class ServingMetrics:
    """One registry a server. ``stats`` gives the engine's numbers of this moment."""

    def __init__(self, stats: Callable[[], Stats]) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by their end.", "endpoint", "model", "status")
        self.tokens = self._counter("tokens", "Tokens of finished answers.", "model", "direction")
        self.queued = self._seconds("queued_seconds", "From a request to its slot.")
        self.first_token = self._seconds("first_token_seconds", "From a request to its first token.")
        self.answered = self._seconds("answer_seconds", "From a request to its last token.")
        self.adapters = self._counter("adapter_changes", "Adapters that came, went, or were refused.", "change")
        for change in ("loaded", "unloaded", "refused"):
            self.adapters.labels(change)
        self.registry.register(_EngineCollector(stats))

    def finished(self, model: str, usage: Usage) -> None:
        """Count one answer."""
        for direction, count in (
            ("prompt", usage.prompt_tokens), ("cached", usage.cached_tokens), ("completion", usage.completion_tokens),
        ):  # fmt: skip
            self.tokens.labels(model, direction).inc(count)
        self.queued.observe(usage.queued)
        self.first_token.observe(usage.first_token)
        self.answered.observe(usage.total)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"almanac_serving_{name}", text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(f"almanac_serving_{name}", text, buckets=SECONDS, registry=self.registry)


class _EngineCollector(Collector):
    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        stats = self._stats()
        gauges: tuple[tuple[str, str, float], ...] = (
            ("running", "Requests that are being answered.", stats.running),
            ("waiting", "Requests that wait for a slot.", stats.waiting),
            ("slots", "Requests that can be answered at once.", stats.slots),
            ("model_bytes", "Memory of the base model's weights.", stats.model_bytes),
            ("prefix_bytes", "Memory of prompts that are kept for reuse.", stats.prefix_bytes),
            ("adapters", "Adapters that are loaded.", len(stats.adapters)),
        )
        counters: tuple[tuple[str, str, float], ...] = (
            ("refused", "Requests turned away because the queue was full.", stats.refused),
            ("cancelled", "Answers given up before their end.", stats.cancelled),
            ("steps", "Steps of the model.", stats.steps),
            ("step_rows", "Requests in those steps, summed: over steps, the mean batch.", stats.step_rows),
            ("busy_seconds", "Time in steps of the model.", stats.busy),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"almanac_serving_{name}", text, value)
        for name, text, value in counters:
            yield CounterMetricFamily(f"almanac_serving_{name}", text, value)
