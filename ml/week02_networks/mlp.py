"""The multilayer perceptron: linear, batch norm, activation, dropout, again and again, and one linear layer to end.

Idea: hidden layers turn pixels into features, the last layer turns features into one score per class (logits). There is
no activation after it; softmax belongs to the loss, where it can be computed stably.

Source: Rumelhart and others 1986. Batch norm stands before the activation, as Ioffe and Szegedy 2015 have it.

Left out: skip connections, which networks of more than about ten layers need (week 4).

Shapes in the comments: (N, D) are N rows of D pixels, H a hidden layer's units, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from ml.week02_networks.activations import relu
from ml.week02_networks.batch_norm import BatchNorm
from ml.week02_networks.dropout import Dropout
from ml.week02_networks.initialisation import Initialiser, he
from ml.week02_networks.layers import Activation, Layer, Linear, Sequential
from ml.week02_networks.tensor import Tensor


def mlp(
    sizes: Sequence[int],
    rng: np.random.Generator,
    activation: Callable[[Tensor], Tensor] = relu,
    initialise: Initialiser = he,
    dropout: float = 0.0,
    batch_norm: bool = False,
    input_dropout: float = 0.0,
) -> Sequential:
    """A network (N, sizes[0]) -> (N, sizes[-1]); ``sizes`` such as (784, 256, 10) has one hidden layer of 256 units.

    ``input_dropout`` blanks random pixels: each epoch then shows slightly different images.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must name at least inputs and outputs, all positive, not {tuple(sizes)}.")
    layers: list[Layer] = [Dropout(input_dropout, rng)] if input_dropout else []  # (N, D)
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(Linear(inputs, outputs, rng, initialise))  # (N, D) -> (N, H)
        if batch_norm:
            layers.append(BatchNorm(outputs))  # (N, H)
        layers.append(Activation(activation))  # (N, H)
        if dropout:
            layers.append(Dropout(dropout, rng))  # (N, H)
    layers.append(Linear(sizes[-2], sizes[-1], rng, initialise))  # (N, H) -> (N, C)
    return Sequential(layers)
