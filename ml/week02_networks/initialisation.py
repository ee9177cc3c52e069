"""How to draw the first weights, so that signals neither die out nor blow up on their way through the layers.

Idea: with independent inputs of mean square q and weights of variance v, a layer of n inputs gives sums of variance
n v q. Per layer the signal is multiplied by n v; over 30 layers a factor of 0.9 leaves 4 %, a factor of 1.1 makes 17.
So v should be about 1/n, corrected for what the activation does. On the way back the same holds with the outputs'
count.

    Xavier   v = 2 / (n_in + n_out)     a compromise of 1/n_in forward and 1/n_out backward; for tanh, slope 1 at 0
    He       v = 2 / n_in               ReLU zeroes half of the inputs, which halves the mean square: twice the variance
    zero     v = 0                      all units of a layer stay equal for ever: they get equal gradients

Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010;
He and others, "Delving Deep into Rectifiers", 2015.

Left out: orthogonal initialisation, and LSUV (measure, then rescale).

Shapes in the comments: (I, O) is a weight matrix from I inputs to O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.week02_networks.tensor import Array, Tensor

Initialiser = Callable[[int, int, np.random.Generator], Array]


def zeros(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """All zero, shape (I, O). Right for biases, wrong for weights."""
    return np.zeros((inputs, outputs))  # (I, O)


def small(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Naive: N(0, 0.01²) whatever the width, as was usual before 2010. Signals vanish with depth."""
    return rng.normal(0, 0.01, (inputs, outputs))  # (I, O)


def large(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Naive: N(0, 1) whatever the width. Signals grow by √I a layer, or saturate the activation."""
    return rng.normal(0, 1, (inputs, outputs))  # (I, O)


def xavier(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Glorot and Bengio's uniform draw: U(-b, b) has variance b²/3, so b = √(6 / (I + O)) gives v = 2 / (I + O)."""
    bound = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-bound, bound, (inputs, outputs))  # (I, O)


def he(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """He's normal draw, v = 2 / I."""
    return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))  # (I, O)


INITIALISERS: dict[str, Initialiser] = {
    "zero": zeros,
    "naive N(0, 0.01²)": small,
    "naive N(0, 1)": large,
    "Xavier": xavier,
    "He": he,
}


@dataclass(frozen=True)
class Signal:
    """Per layer, from the input on: the activations' mean square, and the mean square of dL/d(activation)."""

    forward: Array  # (depth + 1,)
    backward: Array  # (depth + 1,)


def signal_through_depth(
    initialise: Initialiser,
    activation: Callable[[Tensor], Tensor],
    rng: np.random.Generator,
    depth: int = 30,
    width: int = 256,
    batch: int = 128,
) -> Signal:
    """Send random inputs forward through ``depth`` layers and a random gradient back; nothing is trained.

    The mean square, not the variance about the mean: it is what the derivation in the header multiplies along.
    """
    x = Tensor(rng.normal(size=(batch, width)), requires_grad=True)  # (batch, width): mean square 1
    layers = [x]
    for _ in range(depth):
        weights = Tensor(initialise(width, width, rng))  # (width, width)
        layers.append(activation(layers[-1] @ weights))  # (batch, width)
    layers[-1].backward(rng.normal(size=(batch, width)))
    return Signal(
        np.array([np.mean(layer.data**2) for layer in layers]),
        np.array([np.mean(np.square(layer.grad)) for layer in layers]),
    )
