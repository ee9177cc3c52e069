"""Dropout: switch off random units at every training step, so that no unit can rely on one particular other.

Idea: a network with H hidden units is trained as 2^H thinned networks that share weights; in use the whole network
approximates their average. What is kept is divided by the probability of keeping it, so that each unit's expected
value is the same in training and in use, and nothing has to be scaled afterwards:

    y = x · m / (1 - p),   m ~ Bernoulli(1 - p),   E[y] = x

Source: Srivastava and others, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014. The paper
scales in use instead; dividing in training ("inverted dropout") is what every library does.

Left out: dropping whole channels, and dropout in use as a measure of uncertainty (Gal and Ghahramani 2016).

Shapes in the comments: S is any shape.
"""

from __future__ import annotations

import numpy as np

from ml.week02_networks.layers import Layer
from ml.week02_networks.tensor import Tensor


def drop(x: Tensor, kept: np.ndarray, p: float) -> Tensor:
    """``x`` of shape S where the booleans ``kept`` hold, scaled by 1/(1-p); 0 elsewhere. Gradients pass alike."""
    return x * (kept / (1 - p)).astype(x.data.dtype)  # S


class Dropout(Layer):
    """Drops each number with probability ``p`` in training; does nothing in use."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"The probability of dropping must lie in [0, 1), not {p}.")
        self.p = p
        self.rng = rng

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x  # S
        return drop(x, self.rng.random(x.shape) >= self.p, self.p)  # S
