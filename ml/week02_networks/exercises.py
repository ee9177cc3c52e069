"""Answers to the exercises of the README. Try each one first.

Shapes in the comments: (N, D) is a batch of N rows of D features, (N, C) are N rows of C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml.week02_networks.activations import cross_entropy, softmax
from ml.week02_networks.operations import log, take
from ml.week02_networks.optimisers import Adam, AdamW, Optimiser
from ml.week02_networks.tensor import Array, Tensor


def weight_gain(activation: Callable[[Tensor], Tensor], nodes: int = 400) -> float:
    """Exercise 1: the g for which weights of variance g²/I keep the mean square of an activation f through a layer.

    Sums of mean square 1 are nearly N(0, 1), so what comes out has mean square E[f(z)²] with z ~ N(0, 1), and the next
    layer's sums have mean square g² E[f(z)²] = 1, hence g = 1/√E[f(z)²]. The expectation is an integral over the normal
    density, here by the midpoint rule on [-8, 8]. ReLU gives √2, which is He's rule.

    1 is then a fixed point. For tanh it attracts: sums that are too large saturate and come out smaller. For GELU it
    repels, as GELU passes nearly nothing of small sums and, like ReLU, half of the square of large ones.
    """
    width = 16 / nodes
    z = -8 + width * (np.arange(nodes) + 0.5)  # (nodes,)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)  # (nodes,)
    mean_square = float((activation(Tensor(z)).data ** 2 * density).sum() * width)  # E[f(z)²]
    return 1 / np.sqrt(mean_square)


def naive_cross_entropy(logits: Tensor, labels: np.ndarray) -> Tensor:
    """Cross-entropy as it is written on paper: the logarithm of the softmax. (N, C), (N,) to one number."""
    right = take(softmax(logits), (np.arange(len(labels)), labels))  # (N,)
    return -log(right).mean()


def where_naive_cross_entropy_breaks(dtype: type = np.float32, step: float = 0.25) -> tuple[float, float]:
    """Exercise 2: the lead of a wrong class at which the loss on paper becomes infinite, and the stable loss there.

    p(right) = 1 / (1 + e^lead) ≈ e^-lead rounds to 0 below half of the smallest positive number of the type. float32
    has numbers down to 2^-149, and -ln 2^-150 = 103.97. (Without subtracting the maximum it would break at 88.73.)
    """
    labels = np.array([0])  # (1,)
    lead = 0.0
    while True:
        logits = Tensor(np.array([[0.0, lead]], dtype=dtype))  # (1, 2)
        with np.errstate(divide="ignore", under="ignore"):
            if not np.isfinite(naive_cross_entropy(logits, labels).data):
                return lead, float(cross_entropy(logits, labels).data)
        lead += step


def first_steps_without_correction(steps: int, betas: tuple[float, float] = (0.9, 0.999)) -> Array:
    """Exercise 3: Adam's steps in units of η under a constant gradient, with no bias correction; shape (steps,).

    After t steps m = (1-β₁^t) g and v = (1-β₂^t) g², so the step is (1-β₁^t) / √(1-β₂^t) instead of 1: 3.16 at first,
    6.6 at the worst, and still 1.26 after 1,000 steps. A warm-up covers the same ground from the other side.
    """
    t = np.arange(1, steps + 1)  # (steps,)
    first, second = betas
    return (1 - first**t) / np.sqrt(1 - second**t)  # (steps,)


def decay_of_busy_and_idle_weights(optimiser: type[Adam], steps: int = 500) -> tuple[float, float]:
    """Exercise 4: what weight decay leaves of two weights, one with gradients a hundred times the other's.

    Both start at 1 and get gradients of mean 0, so that decay is all that moves them in the long run. Returns what is
    left of the busy weight and of the idle one. AdamW shrinks both alike, by about (1 - ηλ)^steps = 0.779; in Adam the
    decay is divided by the size of the gradients, so the busy one hardly shrinks at all.
    """
    weights = Tensor(np.ones(2), requires_grad=True)  # (2,): busy, idle
    optimise: Optimiser = optimiser([weights], lr=1e-3, weight_decay=0.5)
    size = np.array([100.0, 1.0])  # (2,)
    for step in range(steps):
        weights.grad = size * (1 if step % 2 else -1)  # (2,): mean 0, and the same for both up to its size
        optimise.step()
    busy, idle = weights.data
    return float(busy), float(idle)


def adam_and_adamw() -> dict[str, tuple[float, float]]:
    """Exercise 4's table: optimiser to (busy, idle)."""
    return {optimiser.__name__: decay_of_busy_and_idle_weights(optimiser) for optimiser in (Adam, AdamW)}


def batch_norm_pull(x: Array, scale: Array, g: Array, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """Exercise 5: batch norm's gradient in one formula. x, g = dL/dy of (N, D) to dL/dx (N, D), dL/dγ (D,), dL/dβ (D,).

    With x̂ = (x - μ)/s, s = √(σ² + ε) and h = γ g = dL/dx̂, the three paths (direct, through μ, through σ²) add up to

        dL/dx = (h - mean(h) - x̂ · mean(h x̂)) / s

    It is h with its components along 1 and along x̂ removed: moving all rows together, or away from the mean, changes
    nothing that batch norm lets through.
    """
    s = np.sqrt(x.var(axis=0) + eps)  # (D,)
    normal = (x - x.mean(axis=0)) / s  # (N, D): x̂
    h = g * scale  # (N, D)
    back = (h - h.mean(axis=0) - normal * (h * normal).mean(axis=0)) / s  # (N, D)
    return back, (g * normal).sum(axis=0), g.sum(axis=0)  # (N, D), (D,), (D,)
