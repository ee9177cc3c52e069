"""Activations and losses, written so that no finite input overflows.

Idea: between two linear layers there must be a bend, or both collapse into one linear map. Which bend decides how well
gradients survive depth: sigmoid's slope is at most 1/4, tanh's at most 1, ReLU's is exactly 1 wherever it is active.
The second idea is numerical: e^x overflows in float32 at x = 88.73, so a formula that is right on paper is rearranged
until every exponent is ≤ 0.

Source: Nair and Hinton 2010 (ReLU); Hendrycks and Gimpel 2016 (GELU); Goodfellow, Bengio, Courville, "Deep Learning",
2016, sections 4.1 (overflow) and 6.2 (losses).

Left out: leaky ReLU, ELU, SiLU, and label smoothing.

Shapes in the comments: S is any shape, (N, C) are N rows of C classes.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from ml.week02_networks.operations import take
from ml.week02_networks.tensor import Array, Tensor, node


def sigmoid(x: Tensor) -> Tensor:
    """σ(x) = 1 / (1 + e^-x), between 0 and 1: a number as a probability. With z = e^-|x| ≤ 1 nothing overflows."""
    z = np.exp(-np.abs(x.data))  # S, in (0, 1]
    y = np.where(x.data >= 0, 1, z) / (1 + z)  # S: 1/(1 + e^-x) for x ≥ 0, the same times e^x/e^x for x < 0
    return node(y, (x, lambda g: g * y * (1 - y)))  # S: σ' = σ(1 - σ) ≤ 1/4


def tanh(x: Tensor) -> Tensor:
    """tanh(x) = 2σ(2x) - 1: the sigmoid centred on 0, so that the next layer's inputs are centred too."""
    y = np.tanh(x.data)  # S
    return node(y, (x, lambda g: g * (1 - y**2)))  # S: tanh' = 1 - tanh² ≤ 1


def relu(x: Tensor) -> Tensor:
    """max(x, 0). Slope 1 or 0, so depth does not shrink gradients; but a unit that is always negative never learns."""
    return node(np.maximum(x.data, 0), (x, lambda g: g * (x.data > 0)))  # S


def gelu(x: Tensor) -> Tensor:
    """x Φ(x), Φ the normal distribution's cumulative probability: a smooth ReLU (BERT, GPT-2, MiniLM)."""
    cumulative = 0.5 * (1 + erf(x.data / math.sqrt(2)))  # S: Φ(x)
    density = np.exp(-0.5 * x.data**2) / math.sqrt(2 * math.pi)  # S: φ(x) = Φ'(x)
    return node(x.data * cumulative, (x, lambda g: g * (cumulative + x.data * density)))  # S: (xΦ)' = Φ + xφ


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by the tanh approximation that GPT-2 was trained with; within 5e-4 of ``gelu``. Autograd does the rest."""
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))  # S


def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|): the integral of the sigmoid, a ReLU with a round corner."""
    y = np.maximum(x.data, 0) + np.log1p(np.exp(-np.abs(x.data)))  # S
    return node(y, (x, lambda g: g * np.exp(x.data - y)))  # S: softplus' = σ(x) = e^(x - softplus(x)), exponent ≤ 0


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """e^(x_i) / Σ_j e^(x_j): scores as probabilities along ``axis``.

    Adding a constant to all scores changes nothing, so we subtract the largest: every exponent is ≤ 0, one is 0.
    """
    z = np.exp(x.data - x.data.max(axis=axis, keepdims=True))  # S
    p = z / z.sum(axis=axis, keepdims=True)  # S

    def pull(g: Array) -> Array:
        # dp_i/dx_j = p_i (δ_ij - p_j), hence dL/dx_j = p_j (g_j - Σ_i g_i p_i)
        return p * (g - (g * p).sum(axis=axis, keepdims=True))  # S

    return node(p, (x, pull))


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """ln softmax(x) = x - max - ln Σ e^(x - max). Never log(softmax(x)): a small p rounds to 0, its log is -inf."""
    shifted = x.data - x.data.max(axis=axis, keepdims=True)  # S, all ≤ 0
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))  # S; the sum is ≥ 1, its log is safe

    def pull(g: Array) -> Array:
        return g - np.exp(y) * g.sum(axis=axis, keepdims=True)  # S: dy_i/dx_j = δ_ij - p_j

    return node(y, (x, pull))


def cross_entropy(logits: Tensor, labels: np.ndarray) -> Tensor:
    """The mean of -ln p(right class) in nats: (N, C) scores and (N,) class numbers to one number.

    Its gradient by the scores is (p - onehot(label)) / N: how far each probability is from what it should be.
    """
    rows, classes = logits.shape
    labels = np.asarray(labels)  # (N,)
    if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {rows} whole numbers, not {labels.dtype} of shape {labels.shape}.")
    if rows == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"There must be at least one label, and all must lie in 0..{classes - 1}.")
    right = take(log_softmax(logits), (np.arange(rows), labels))  # (N,): ln p(right class)
    return -right.mean()


def binary_cross_entropy(logits: Tensor, targets: np.ndarray) -> Tensor:
    """The mean of -t ln σ(x) - (1-t) ln(1-σ(x)) in nats, for scores x and targets t in [0, 1], both of shape S.

    With ln σ(x) = x - softplus(x) and ln(1-σ(x)) = -softplus(x) it is softplus(x) - t x, and no sigmoid is left in it.
    """
    targets = np.asarray(targets, dtype=logits.data.dtype)  # S
    if targets.shape != logits.shape:
        raise ValueError(f"targets have shape {targets.shape}, the scores {logits.shape}.")
    return (softplus(logits) - logits * targets).mean()
