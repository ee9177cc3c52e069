"""Layers: functions with parameters, and a network as a list of them.

Idea: a layer owns the tensors that are to be learned and says how it acts on a batch. A network is layers one after
another; two linear layers need an activation between them, since W₂(W₁x) is only another linear map.

Source: Rosenblatt 1958 for one layer, Rumelhart and others 1986 for several; the interface is torch.nn.Module's,
reduced to what this week needs.

Left out: saving and loading, naming parameters, moving between devices.

Shapes in the comments: (N, I) is a batch of N rows of I inputs, O the outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ml.week02_networks.initialisation import Initialiser, he
from ml.week02_networks.tensor import Tensor


class Layer:
    """Base of all layers. ``training`` tells dropout and batch norm which of their two behaviours is wanted."""

    training: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def parameters(self) -> list[Tensor]:
        """The tensors to be learned."""
        return []

    def train(self, mode: bool = True) -> None:
        """Behave as in training."""
        self.training = mode

    def eval(self) -> None:
        """Behave as in use: deterministic, each row on its own."""
        self.train(False)


class Linear(Layer):
    """y = x W + b. We keep W as (I, O) so that rows are examples; torch keeps (O, I) and computes x Wᵀ + b."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        initialise: Initialiser = he,
        dtype: type = np.float32,
    ) -> None:
        self.weight = Tensor(initialise(inputs, outputs, rng).astype(dtype), requires_grad=True)  # (I, O)
        self.bias = Tensor(np.zeros(outputs, dtype), requires_grad=True)  # (O,)

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias  # (N, I) @ (I, O) + (O,) -> (N, O)

    def parameters(self) -> list[Tensor]:
        return [self.weight, self.bias]


class Activation(Layer):
    """A function without parameters as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)  # (N, I) -> (N, I)


class Sequential(Layer):
    """Layers one after another."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)  # (N, I) -> (N, O) of this layer
        return x

    def parameters(self) -> list[Tensor]:
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def train(self, mode: bool = True) -> None:
        super().train(mode)
        for layer in self.layers:
            layer.train(mode)
