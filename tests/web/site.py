"""A running Almanac, as the tests of its web page see it."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.services import Services
from tests.web.library import FakeModel


@dataclass(frozen=True)
class Site:
    """A running Almanac, and the model in it."""

    url: str
    services: Services
    model: FakeModel

    def refused(self, reason: str) -> float:
        value = self.services.metrics.registry.get_sample_value(
            "almanac_refused_requests_total", {"platform": "web", "reason": reason}
        )
        return value or 0.0
