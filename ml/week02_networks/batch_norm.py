"""Batch normalisation: give every feature mean 0 and variance 1 over the batch, then let it learn its own.

Idea: each layer's inputs keep shifting while the layers below learn. Normalising them makes the loss smoother, so that
larger learning rates work, and makes a bad initialisation forgivable.

    μ = mean over the batch      x̂ = (x - μ) / √(σ² + ε)
    σ² = variance (÷ N)          y = γ x̂ + β          γ, β learned, one pair per feature

In use there may be no batch, and an answer must not depend on its neighbours. So training keeps running averages of
μ and σ², and use takes these as constants. Two details that trip people up: the batch is normalised with the biased
variance (÷ N), the running average takes the unbiased one (÷ (N - 1)); ``momentum`` is the weight of the *new* value.

Source: Ioffe and Szegedy, "Batch Normalization", 2015; Santurkar and others, 2018, on why it helps (not for the reason
first given).

Left out: images (one statistic per channel), several machines. Layer norm, which normalises each row by itself and
needs no running averages, is week 4.

Shapes in the comments: (N, D) is a batch of N rows of D features.
"""

from __future__ import annotations

import numpy as np

from ml.week02_networks.layers import Layer
from ml.week02_networks.operations import sqrt
from ml.week02_networks.tensor import Tensor


class BatchNorm(Layer):
    """Batch norm over rows of ``features`` numbers."""

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5, dtype: type = np.float32) -> None:
        self.momentum = momentum
        self.eps = eps
        self.scale = Tensor(np.ones(features, dtype), requires_grad=True)  # (D,): γ
        self.shift = Tensor(np.zeros(features, dtype), requires_grad=True)  # (D,): β
        self.running_mean = np.zeros(features, dtype)  # (D,)
        self.running_variance = np.ones(features, dtype)  # (D,)

    def __call__(self, x: Tensor) -> Tensor:
        if x.data.ndim != 2 or x.shape[1] != self.scale.shape[0]:
            raise ValueError(f"Batch norm over {self.scale.shape[0]} features got an input of shape {x.shape}.")
        if not self.training:
            centred = x - self.running_mean  # (N, D)
            normal = centred / np.sqrt(self.running_variance + self.eps)  # (N, D): a fixed linear map
            return normal * self.scale + self.shift  # (N, D)
        if len(x.data) < 2:
            raise ValueError("Batch norm needs at least two rows in training: one row has no variance.")
        mean = x.mean(axis=0)  # (D,): μ
        centred = x - mean  # (N, D)
        variance = (centred**2).mean(axis=0)  # (D,): σ²
        self._remember(mean.data, variance.data, len(x.data))
        # μ and σ² depend on every row, so each row's gradient has a part through them. Autograd follows it by itself;
        # exercise 5 derives what comes out.
        return centred / sqrt(variance + self.eps) * self.scale + self.shift  # (N, D): γ x̂ + β

    def _remember(self, mean: np.ndarray, variance: np.ndarray, rows: int) -> None:
        unbiased = variance * (rows / (rows - 1))  # (D,)
        self.running_mean += self.momentum * (mean - self.running_mean)  # (D,)
        self.running_variance += self.momentum * (unbiased - self.running_variance)  # (D,)

    def parameters(self) -> list[Tensor]:
        return [self.scale, self.shift]
