"""Latency is a distribution: quantiles, exactly and as a sketch that fits in a few hundred counters.

The idea: an average hides the slow ones, so one states the median and the 95th percentile. Exactly, that needs every
value. A service keeps counts in buckets instead. Buckets whose borders grow by a constant factor gamma give every
quantile with a bounded *relative* error, at any scale, and two sketches (two processes, two hours) are added bucket by
bucket. Fixed buckets, as dashboards have by default, promise nothing beyond their borders.

    bucket i holds (gamma^(i-1), gamma^i],  gamma = (1 + a) / (1 - a);  answer 2 gamma^i / (gamma + 1)  ->  error <= a

Source: Masson, Rim and Lee, "DDSketch" (VLDB 2019). Left out: collapsing buckets (1 % of error over nine decades needs
about 1,000), percentiles of percentiles, which mean nothing: add the sketches, then ask.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


def exact(values: Sequence[float], share: float) -> float:
    """The quantile at ``share`` (0 to 1) of N values, as NumPy's default: linear between the two nearest ranks."""
    if not values or not 0 <= share <= 1:
        raise ValueError("a quantile needs at least one value, and a share between 0 and 1")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass
class Sketch:
    """Counts of positive values in geometric buckets; ``error`` bounds the relative error of every quantile."""

    error: float = 0.01
    counts: Counter[int] = field(default_factory=Counter)
    zeros: int = 0

    @property
    def gamma(self) -> float:
        return (1 + self.error) / (1 - self.error)

    @property
    def count(self) -> int:
        return self.zeros + self.counts.total()

    def add(self, value: float) -> None:
        if value < 0 or not math.isfinite(value):
            raise ValueError(f"{value} is no duration")
        if value == 0:
            self.zeros += 1
        else:
            self.counts[math.ceil(math.log(value, self.gamma))] += 1

    def merge(self, other: Sketch) -> Sketch:
        """Both together, as if one had seen all; they need the same ``error``."""
        if other.error != self.error:
            raise ValueError("sketches with different errors have different buckets")
        return Sketch(self.error, self.counts + other.counts, self.zeros + other.zeros)

    def quantile(self, share: float) -> float:
        """The value at rank floor(share (n - 1)), within the relative ``error``."""
        if not self.count or not 0 <= share <= 1:
            raise ValueError("a quantile needs at least one value, and a share between 0 and 1")
        rank = math.floor(share * (self.count - 1))
        seen = self.zeros
        if rank < seen:
            return 0.0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if rank < seen:
                return float(2 * self.gamma**bucket / (self.gamma + 1))
        raise AssertionError("ranks are below the count")


def from_fixed_buckets(values: Sequence[float], borders: Sequence[float], share: float) -> float:
    """What a dashboard shows: counts at most each of the rising ``borders``, linear inside the bucket found.

    Values above the last border are counted, and reported as that border, however slow they were.
    """
    counts = [0] * (len(borders) + 1)
    for value in values:
        counts[bisect_left(borders, value)] += 1
    target, seen = share * len(values), 0
    for bucket, border in enumerate(borders):
        if counts[bucket] and seen + counts[bucket] >= target:
            low = borders[bucket - 1] if bucket else 0.0
            return low + (border - low) * (target - seen) / counts[bucket]
        seen += counts[bucket]
    return borders[-1]
