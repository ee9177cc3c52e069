"""The exercises' answers, and the comparison of optimisers that they argue about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ml.week02_networks import comparison, exercises
from ml.week02_networks.activations import gelu, relu, tanh
from ml.week02_networks.batch_norm import BatchNorm
from ml.week02_networks.initialisation import signal_through_depth
from ml.week02_networks.optimisers import Adam
from ml.week02_networks.tensor import Tensor


@pytest.mark.parametrize("activation", [relu, gelu, tanh])
def test_the_gain_keeps_the_mean_square_of_a_layers_sums(activation: Callable[[Tensor], Tensor]) -> None:
    rng = np.random.default_rng(0)
    sums = Tensor(rng.normal(size=(2_000, 256)))  # mean square 1
    weights = rng.normal(0, exercises.weight_gain(activation) / np.sqrt(256), (256, 256))
    assert ((activation(sums) @ weights).data ** 2).mean() == pytest.approx(1, abs=0.04)


def test_the_gain_of_relu_is_hes_and_only_tanhs_fixed_point_attracts() -> None:
    assert exercises.weight_gain(relu) == pytest.approx(np.sqrt(2), rel=1e-9)
    last = {}
    for activation in (tanh, gelu):
        gain = exercises.weight_gain(activation)

        def draw(inputs: int, outputs: int, rng: np.random.Generator, gain: float = gain) -> np.ndarray:
            return rng.normal(0, gain / np.sqrt(inputs), (inputs, outputs))

        signal = signal_through_depth(draw, activation, np.random.default_rng(0), depth=20)
        last[activation] = gain**2 * signal.forward[-1]  # the first sums have mean square gain², about 2.4
    assert last[tanh] == pytest.approx(1, abs=0.05)
    assert last[gelu] > 10


def test_the_loss_on_paper_breaks_where_the_exercise_says() -> None:
    lead, stable = exercises.where_naive_cross_entropy_breaks()
    assert lead == 104.0
    assert stable == pytest.approx(104.0)
    assert exercises.where_naive_cross_entropy_breaks(np.float64)[0] == 745.25


def test_steps_without_bias_correction() -> None:
    steps = exercises.first_steps_without_correction(1_000)
    assert steps[0] == pytest.approx(0.1 / np.sqrt(0.001))
    assert steps.max() == pytest.approx(6.57, abs=0.01)
    assert steps.argmax() + 1 == 12
    assert steps[-1] == pytest.approx(1.26, abs=0.01)
    x = Tensor([0.0], requires_grad=True)  # with the correction each step is η: the formula divides by what is missing
    x.grad = np.array([7.0])
    adam = Adam([x], lr=1.0, eps=0)
    for t in range(1, 4):
        adam.step()
        assert x.data[0] == pytest.approx(-t)
    uncorrected = adam.means[0] / np.sqrt(adam.squares[0])
    assert uncorrected[0] == pytest.approx(steps[2])


def test_decoupled_decay_treats_busy_and_idle_weights_alike() -> None:
    left = exercises.adam_and_adamw()
    assert left["AdamW"] == pytest.approx([0.780, 0.780], abs=1e-3)
    assert left["Adam"] == pytest.approx([0.999, 0.798], abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_batch_norms_pull_in_one_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = BatchNorm(3, dtype=np.float64)
    layer.scale.data = rng.normal(size=3)
    x, above = Tensor(rng.normal(size=(6, 3)), requires_grad=True), rng.normal(size=(6, 3))
    layer(x).backward(above)
    for got, expected in zip(
        exercises.batch_norm_pull(x.data, layer.scale.data, above),
        (x.grad, layer.scale.grad, layer.shift.grad),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_the_valley_is_rosenbrocks() -> None:
    assert float(comparison.valley(Tensor([1.0, 1.0])).data) == 0
    assert float(comparison.valley(Tensor([-1.0, 2.0])).data) == 4 + 20


def test_momentum_goes_further_down_the_valley_than_plain_descent() -> None:
    ends = {}
    for name in ("SGD", "Momentum", "Adam"):
        walks = [comparison.walk_valley(name, rate, 200) for rate in comparison.RATES]
        ends[name] = comparison.final_loss(comparison.best_of(walks, last=1), last=1)
    assert ends["Momentum"] < ends["SGD"] / 1_000
    assert ends["Adam"] < ends["SGD"] / 1_000


def test_a_run_that_diverged_is_never_the_best() -> None:
    good = comparison.Walk("good", 0.1, np.array([3.0, 2.0]), np.empty((0, 2)))
    diverged = comparison.Walk("bad", 1.0, np.array([3.0, np.nan]), np.empty((0, 2)))
    assert comparison.best_of([diverged, good], last=1) is good
