"""Week 11, money and time: quantiles, the budget under a burst, the meter."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ml.week11_guardrails import exercises, quantiles, studies
from ml.week11_guardrails.defects import LateBudget
from ml.week11_guardrails.figures import FIXED, quantile_errors
from ml.week11_guardrails.meter import Budget, Meter, OverBudget, Price
from ml.week11_guardrails.quantiles import Sketch
from ml.week11_guardrails.rag import Clock

SHARES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.999, 1.0)


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_exact_quantiles_are_numpys(size: int) -> None:
    values = np.random.default_rng(size).lognormal(0, 2, size)
    for share in SHARES:
        assert quantiles.exact(values.tolist(), share) == pytest.approx(np.quantile(values, share), rel=1e-12)


@pytest.mark.parametrize("error", [0.005, 0.01, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_the_sketch_keeps_its_promise_on_any_scale(error: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.lognormal(rng.uniform(-8, 8), rng.uniform(0.1, 4), 500), np.zeros(seed * 20)])
    sketch = Sketch(error)
    for value in values:
        sketch.add(float(value))
    for share in SHARES:
        true = np.quantile(values, share, method="lower")
        assert abs(sketch.quantile(share) - true) <= error * true * (1 + 1e-9)


def test_merged_sketches_are_one_that_saw_everything() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.lognormal(0, 1, 200) for _ in range(2)]
    one, other, both = Sketch(), Sketch(), Sketch()
    for sketch, values in ((one, parts[0]), (other, parts[1]), (both, np.concatenate(parts))):
        for value in values:
            sketch.add(float(value))
    assert one.merge(other) == both
    with pytest.raises(ValueError, match="different errors"):
        one.merge(Sketch(0.5))


def test_what_is_no_duration_and_an_empty_sketch_are_refused() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no duration"):
            Sketch().add(wrong)
    with pytest.raises(ValueError, match="at least one value"):
        Sketch().quantile(0.5)
    with pytest.raises(ValueError, match="at least one value"):
        quantiles.exact([], 0.5)


def test_fixed_buckets_by_hand_and_what_they_cannot_know() -> None:
    assert quantiles.from_fixed_buckets([0.5, 1.5, 1.5, 1.5], [1, 2], 0.5) == pytest.approx(1 + 1 / 3)
    assert quantiles.from_fixed_buckets([900.0] * 10, FIXED, 0.5) == 10, "slower than the last border: the border"
    seconds = np.random.default_rng(0).lognormal(1.5, 0.3, 2_000)
    errors = quantile_errors(seconds, np.array([0.5, 0.95]))
    fixed = errors.pop("fixed, 11 counters")
    assert all(values.max() < 0.06 for values in errors.values())
    assert fixed.max() > 0.06


# ---- money ----


def test_a_price_for_a_million_is_a_microdollar_for_one_and_rounds_up() -> None:
    assert Price(0.5, 2.0).cost(1_000_000, 1_000_000) == 2_500_000
    assert Price(0.15, 0.6).cost(1, 0) == 1
    assert Price(0.1, 0).cost(30, 0) == 3, "0.1 * 30 is 3.0000000000000004 and still 3"
    assert Price(0.5, 2.0).cost(0, 0) == 0


def test_the_cap_holds_in_a_burst_of_threads_and_the_late_one_does_not() -> None:
    def spend(budget: Budget) -> int:
        ready, lock = threading.Barrier(40), threading.Lock()
        admitted = 0

        def one() -> None:
            nonlocal admitted
            ready.wait()
            try:
                budget.reserve(900)
            except OverBudget:
                return
            finally:
                ready.wait()  # nobody's bill comes before everybody has asked
            with lock:
                admitted += 1
            budget.settle(900, 700)

        threads = [threading.Thread(target=one) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert budget.spent == 700 * admitted
        assert budget.reserved == 0
        return budget.spent

    assert spend(Budget(10_000)) == 7_700  # eleven times 900 fit
    assert spend(LateBudget(10_000)) == 28_000


def test_a_refusal_says_what_is_left_and_a_new_window_starts_empty() -> None:
    clock = Clock()
    budget = Budget(10_000, seconds=60, clock=clock)
    budget.reserve(8_000)
    with pytest.raises(OverBudget, match=r"may cost \$0\.0030; \$0\.0020 is left"):
        budget.reserve(3_000)
    budget.settle(8_000, 1_000)
    budget.reserve(9_000)
    clock.now = 61
    with pytest.raises(OverBudget):
        budget.reserve(2_000)  # what is in flight still counts
    budget.settle(9_000, 9_000)
    assert budget.spent == 9_000
    clock.now = 130
    budget.reserve(10_000)


def test_the_meter_bills_by_label_times_stages_and_gives_back_what_failed() -> None:
    clock = Clock()
    meter = Meter(Price(1, 10), Budget(1_000, clock=clock), clock)
    with meter.call("ada", prompt_tokens=100, max_tokens=50) as usage:
        assert meter.budget.reserved == 600
        clock.now += 0.25
        usage.prompt_tokens, usage.completion_tokens = 100, 5

    def fail() -> None:
        with meter.call("ada", 100, 50):
            clock.now += 4
            raise TimeoutError

    with pytest.raises(TimeoutError):
        fail()
    with pytest.raises(OverBudget), meter.call("bob", 100, 500):
        pytest.fail("the model was called although the cap cannot bear it")
    assert dict(meter.costs) == {"ada": 150}
    assert (meter.budget.spent, meter.budget.reserved, meter.requests) == (150, 0, 2)
    ((stage, count, half, most),) = meter.report()
    assert (stage, count) == ("model", 2)
    assert half == pytest.approx(0.25, rel=0.01)
    assert most == pytest.approx(0.25, rel=0.01)  # rank floor(.95 * 1): the lower of two
    assert meter.latency["model"].quantile(1) == pytest.approx(4, rel=0.01)


def test_the_studied_burst_and_exercise_5() -> None:
    assert studies.burst(LateBudget(100_000), 40, 9_000, 4_000)[-1] == 160_000
    reserved = studies.burst(Budget(100_000), 40, 9_000, 4_000)
    assert reserved.max() == 44_000
    for patient, answered in ((False, 11), (True, 23)):
        budget = Budget(100_000)
        assert exercises.served(budget, [4_000] * 40, 9_000, patient) == answered
        assert budget.spent == 4_000 * answered <= budget.cap
        assert budget.reserved == 0
    assert exercises.served(Budget(100), [1] * 3, 200, patient=True) == 0
