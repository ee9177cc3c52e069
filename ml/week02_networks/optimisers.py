"""Six ways to walk downhill, each one idea more than the last.

Idea: the gradient says which way is down here, on this batch. How far to go, and how much to trust one noisy reading,
is the optimiser's question.

    SGD        θ ← θ - η g                                     one step against the gradient
    Momentum   v ← μ v + g;  θ ← θ - η v                       average readings: noise cancels, a steady slope adds up
    Nesterov   θ ← θ - η (g + μ v)                             look one momentum step ahead, brake before the wall
    RMSProp    s ← α s + (1-α) g²;  θ ← θ - η g / (√s + ε)     each weight its own step: divide by its typical gradient
    Adam       both averages, each corrected for having started at 0
    AdamW      Adam, and the weights shrink by themselves instead of through the gradient

Source: Robbins and Monro 1951; Polyak 1964; Nesterov 1983 in the form of Sutskever and others 2013; Hinton's lecture
6e, 2012; Kingma and Ba, "Adam", 2015; Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019. Where
papers and torch.optim differ we do as torch does, since the tests compare step by step.

Left out: AMSGrad, dampening, second-order methods, and gradient clipping.

Shapes in the comments: P is the shape of one parameter.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ml.week02_networks.tensor import Array, Tensor


class Optimiser:
    """Base: holds parameters and the learning rate ``lr`` (η), which a schedule may change between steps.

    ``weight_decay`` (λ) adds λθ to the gradient, the gradient of ½λ‖θ‖² (L2 regularisation), unless ``decoupled``.
    """

    decoupled = False

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr and weight_decay must not be negative, not {lr} and {weight_decay}.")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("An optimiser needs at least one parameter.")
        self.lr = lr
        self.weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the last gradients; ``backward`` would add to them."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        for index, parameter in enumerate(self.parameters):
            g = parameter.grad  # P
            if g is None:
                continue
            if self.weight_decay and self.decoupled:
                parameter.data *= 1 - self.lr * self.weight_decay  # P: θ ← θ - ηλθ, and g stays pure
            elif self.weight_decay:
                g = g + self.weight_decay * parameter.data  # P: g ← g + λθ
            parameter.data -= self.lr * self.direction(index, g)  # P: θ ← θ - η d

    def direction(self, index: int, g: Array) -> Array:
        """What to subtract η times from parameter ``index``, given its gradient of shape P."""
        raise NotImplementedError

    def blank(self) -> list[Array]:
        """One array of zeros per parameter, for running averages."""
        return [np.zeros_like(parameter.data) for parameter in self.parameters]  # P each


class SGD(Optimiser):
    """Stochastic gradient descent: the gradient of a batch instead of all the data."""

    def direction(self, index: int, g: Array) -> Array:
        return g  # P


class Momentum(Optimiser):
    """Heavy ball. With a steady gradient, v grows to g / (1 - μ): μ = 0.9 takes steps ten times as long."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, mu: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.mu = mu
        self.velocity = self.blank()  # P each

    def direction(self, index: int, g: Array) -> Array:
        self.velocity[index] = v = self.mu * self.velocity[index] + g  # P: v ← μ v + g
        return v  # P


class Nesterov(Momentum):
    """Momentum with the gradient of where the ball is about to be, rewritten to need only the gradient here."""

    def direction(self, index: int, g: Array) -> Array:
        return g + self.mu * super().direction(index, g)  # P: g + μ v


class RMSProp(Optimiser):
    """Divide by the root of the mean squared gradient: rarely used weights take steps as large as busy ones."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.alpha = alpha
        self.eps = eps
        self.squares = self.blank()  # P each

    def direction(self, index: int, g: Array) -> Array:
        self.squares[index] = s = self.alpha * self.squares[index] + (1 - self.alpha) * g**2  # P
        return g / (np.sqrt(s) + self.eps)  # P


class Adam(Optimiser):
    """Momentum over RMSProp, corrected: an average that began at 0 has weights that sum to 1 - β^t after t steps.

    m ← β₁ m + (1-β₁) g;  v ← β₂ v + (1-β₂) g²;  direction = (m / (1-β₁^t)) / (√(v / (1-β₂^t)) + ε)
    The first step is therefore ±η in every weight, whatever the size of the gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.betas = betas
        self.eps = eps
        self.means = self.blank()  # P each
        self.squares = self.blank()  # P each
        self.steps = [0] * len(self.parameters)

    def direction(self, index: int, g: Array) -> Array:
        first, second = self.betas
        self.steps[index] += 1
        self.means[index] = m = first * self.means[index] + (1 - first) * g  # P
        self.squares[index] = v = second * self.squares[index] + (1 - second) * g**2  # P
        mean = m / (1 - first ** self.steps[index])  # P: as if the average had started full
        square = v / (1 - second ** self.steps[index])  # P
        return mean / (np.sqrt(square) + self.eps)  # P


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← θ - ηλθ, apart from the gradient and before the step.

    In Adam the decay λθ would be divided by √v like the rest, so weights with large gradients would hardly decay.
    """

    decoupled = True
