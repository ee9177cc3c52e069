"""Checking a gradient against the definition of a derivative.

Idea: nudge each input a little to both sides and see how far the output moves. It takes two evaluations per input, so
it cannot train anything, but it knows nothing of our derivations and therefore catches their mistakes.

    dL/dx_i ≈ (L(x + h e_i) - L(x - h e_i)) / 2h        truncation error O(h²), rounding error O(ε/h)

Both errors are equal near h = ε^(1/3), 6e-6 in float64: there about ten digits of a smooth function's slope are right.
The one-sided quotient has error O(h) and gets only half the digits.

Source: any numerical analysis text; CS231n's notes on gradient checks say what goes wrong in practice.

Left out: functions with kinks. A nudge across ReLU's kink at 0 gives a slope between 0 and 1 and a false alarm, so
keep inputs of such functions away from it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml.week02_networks.tensor import Array, Tensor

STEP = float(np.finfo(np.float64).eps) ** (1 / 3)  # 6.06e-6


def numeric_gradient(function: Callable[[Array], float], x: Array, step: float = STEP) -> Array:
    """Central differences of a number-valued function at ``x`` of shape S (float64); returns shape S."""
    x = np.array(x, dtype=np.float64)  # S, a copy that we may nudge
    slope = np.empty_like(x)  # S
    for index in np.ndindex(x.shape):
        middle = x[index]
        x[index] = middle + step
        above = function(x)
        x[index] = middle - step
        below = function(x)
        x[index] = middle
        slope[index] = (above - below) / (2 * step)
    return slope


def gradient_error(function: Callable[..., Tensor], *inputs: Array) -> float:
    """The largest difference between autograd and central differences over all inputs.

    ``function`` maps tensors to a tensor of any shape; its outputs are weighted with fixed random numbers, since a
    plain sum would hide a pull that mixes up the outputs. Relative to slopes larger than 1, absolute below.
    """
    tensors = [Tensor(np.array(x, dtype=np.float64), requires_grad=True) for x in inputs]
    output = function(*tensors)
    weights = np.random.default_rng(0).normal(size=output.shape)  # the output's shape
    output.backward(weights)
    worst = 0.0
    for place, tensor in enumerate(tensors):

        def value(x: Array, place: int = place) -> float:
            arguments = [Tensor(x) if i == place else Tensor(t.data) for i, t in enumerate(tensors)]
            return float((function(*arguments).data * weights).sum())

        expected = numeric_gradient(value, tensor.data)  # S of this input
        got = np.zeros_like(expected) if tensor.grad is None else tensor.grad  # S
        worst = max(worst, float((np.abs(got - expected) / np.maximum(np.abs(expected), 1)).max()))
    return worst
