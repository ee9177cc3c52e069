"""The other operations a network needs: elementary functions, shapes, and choosing.

Idea: an operation is two lines, its value and its pull. Once these are right, any expression built from them
differentiates itself; nothing in later files derives a gradient by hand unless it gains speed or stability by it.

Source: the derivatives are school calculus; for the choosing operations (`where`, `take`, `maximum`) see how torch
documents `torch.where`, indexing and `torch.amax`.

Left out: convolution (this week is about fully connected networks), sorting, and everything complex-valued.

Shapes in the comments: S is the shape of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml.week02_networks.tensor import Array, Axis, Tensor, as_tensor, node


def exp(x: Tensor) -> Tensor:
    """e^x, elementwise."""
    y = np.exp(x.data)  # S
    return node(y, (x, lambda g: g * y))  # S: d e^x = e^x dx


def log(x: Tensor) -> Tensor:
    """Natural logarithm, elementwise."""
    return node(np.log(x.data), (x, lambda g: g / x.data))  # S: d ln x = dx / x


def sqrt(x: Tensor) -> Tensor:
    """Square root, elementwise."""
    y = np.sqrt(x.data)  # S
    return node(y, (x, lambda g: g / (2 * y)))  # S: d √x = dx / (2√x)


def absolute(x: Tensor) -> Tensor:
    """|x|; at the kink 0 we take the slope 0, as torch does (any of [-1, 1] is a subgradient)."""
    return node(np.abs(x.data), (x, lambda g: g * np.sign(x.data)))  # S: d|x| = sign(x) dx


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``a`` where the constant boolean ``condition`` holds, else ``b``; the gradient goes to the one that was chosen.

    A trap: the side that was *not* chosen gets gradient 0 · d, which is nan where d is infinite. So choose safe
    inputs before an operation, not between its results (see `activations.sigmoid` for how).
    """
    chosen = np.asarray(condition, dtype=bool)  # S
    a = as_tensor(a, b if isinstance(b, Tensor) else None)
    b = as_tensor(b, a)
    value = np.where(chosen, a.data, b.data)  # S
    return node(value, (a, lambda g: g * chosen), (b, lambda g: g * ~chosen))  # S


def maximum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest along ``axis``; ties share the gradient equally, as in torch.amax."""
    top = x.data.max(axis=axis, keepdims=True)  # S with 1 at axis
    winners = (x.data == top).astype(x.data.dtype)  # S, 1 at the maxima
    share = winners / winners.sum(axis=axis, keepdims=True)  # S
    return node(x.data.max(axis=axis, keepdims=keepdims), (x, lambda g: g.reshape(top.shape) * share))


def reshape(x: Tensor, *shape: int) -> Tensor:
    """The same numbers in another shape; one size may be -1."""
    return node(x.data.reshape(shape), (x, lambda g: g.reshape(x.shape)))


def transpose(x: Tensor, *axes: int) -> Tensor:
    """Axes in another order (reversed where none is given); the pull is the inverse permutation."""
    order = axes or tuple(reversed(range(x.data.ndim)))
    return node(x.data.transpose(order), (x, lambda g: g.transpose(np.argsort(order))))


def take(x: Tensor, index: Any) -> Tensor:
    """``x[index]``, with any index NumPy knows. An element taken twice receives two gradients: add.at, not ``=``."""

    def pull(g: Array) -> Array:
        back = np.zeros_like(x.data)  # S
        np.add.at(back, index, g)
        return back

    return node(x.data[index], (x, pull))


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors side by side along ``axis``; each gets its slice of the gradient back."""
    ends = np.cumsum([tensor.shape[axis] for tensor in tensors])  # (tensors,)
    edges = []
    for tensor, end in zip(tensors, ends, strict=True):
        mine = np.arange(end - tensor.shape[axis], end)  # (size of this tensor along axis,)
        edges.append((tensor, lambda g, mine=mine: g.take(mine, axis=axis)))
    return node(np.concatenate([tensor.data for tensor in tensors], axis=axis), *edges)
