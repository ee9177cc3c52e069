"""How far from the reference? Three estimators of the KL from samples, and a controller that keeps it near a target.

Idea. A reward model is only right where its data was. So every RLHF objective pays for distance to the reference model:
``E[r] - beta KL(pi || ref)``. The KL is an expectation under the policy, so it can be estimated from the policy's own
samples, token by token, from d = log pi - log ref. The plain estimator d is unbiased but negative half of the time;
exp(-d) - 1 + d is unbiased, never negative and far less noisy near the reference.

beta is awkward to choose (it is in units of reward per nat), a KL in nats is not. The controller turns beta like a
thermostat: up when the KL is above the target, down when it is below.

Sources: Schulman, "Approximating KL divergence" (2020); Ziegler et al. (2019), section 2.2, for the controller.
Left out: gradients through the estimators (k1's is wrong as a loss, see the exercises). Shapes: any; d is elementwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def k1(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log p - log q, for samples from p: unbiased, may be negative, noisy."""
    return log_p - log_q


def k2(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(log p - log q)² / 2: never negative, low noise, biased when p and q are far apart."""
    return 0.5 * (log_p - log_q) ** 2


def k3(log_p: Tensor, log_q: Tensor) -> Tensor:
    """q/p - 1 - log(q/p): unbiased, because E_p[q/p] = 1, and never negative, because log x <= x - 1."""
    log_ratio = log_q - log_p
    return torch.exp(log_ratio) - 1 - log_ratio


@dataclass
class AdaptiveKL:
    """beta that follows a KL target: beta <- beta (1 + rate · clip(KL / target - 1, -0.2, 0.2)).

    The clip keeps one wild batch from throwing the price about. ``target`` is in nats a response.
    """

    target: float
    beta: float = 0.1
    rate: float = 0.2

    def __post_init__(self) -> None:
        if not (self.target > 0 and self.beta > 0 and self.rate > 0):
            raise ValueError("target, beta and rate must all be above 0.")

    def update(self, measured: float) -> float:
        """The new beta after a batch whose KL was ``measured``."""
        error = min(max(measured / self.target - 1.0, -0.2), 0.2)
        self.beta *= 1.0 + self.rate * error
        return self.beta
