"""Reverse-mode automatic differentiation over arrays: the graph, the sweep back, and arithmetic.

Idea: while an expression is computed, every result remembers the tensors it came from and, for each of them, how to
pull a gradient back through the operation. Afterwards one sweep in reverse order gives the gradient of a single number
with respect to every input, for about the price of two forward passes, however many inputs there are. Backpropagation
is this sweep over a neural network.

    y = f(x),  L = …y…      pull: dL/dy -> dL/dx = dL/dy · dy/dx      (a vector-Jacobian product; no Jacobian is built)

Source: Linnainmaa 1970; Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986;
the survey by Baydin and others, "Automatic Differentiation in Machine Learning", 2018. Karpathy's micrograd (2020)
is the same for single numbers.

Left out: second derivatives, in-place operations, devices, and freeing a node's memory during the sweep.

Shapes in the comments: S is any shape; (N, D) is a batch of N rows of D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Pull = Callable[[Array], Array]
Axis = int | tuple[int, ...] | None


class Tensor:
    """An array of shape S with the way back to what it was computed from.

    ``grad`` is None until ``backward`` has passed here, then an array of shape S: d(output)/d(this), summed over all
    sweeps since it was last set to None. ``edges`` are (parent, pull) pairs; a leaf has none.
    """

    __array_ufunc__ = None  # makes NumPy hand `array + tensor` to Tensor.__radd__ instead of looping over elements
    __slots__ = ("data", "edges", "grad", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, edges: tuple[tuple[Tensor, Pull], ...] = ()) -> None:
        array = np.asarray(data)  # S
        self.data: Array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)  # S
        self.grad: Array | None = None  # S
        self.requires_grad = requires_grad
        self.edges = edges

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __repr__(self) -> str:
        return f"Tensor({self.data}{', requires_grad=True' if self.requires_grad else ''})"

    # Arithmetic. Each operation is its value, and for each parent the derivative times what arrives from above (g).

    def __add__(self, other: Any) -> Tensor:
        other = as_tensor(other, self)
        return node(self.data + other.data, (self, lambda g: g), (other, lambda g: g))  # S: d(a+b) = da + db

    def __mul__(self, other: Any) -> Tensor:
        other = as_tensor(other, self)
        a, b = self.data, other.data
        return node(a * b, (self, lambda g: g * b), (other, lambda g: g * a))  # S: d(ab) = b da + a db

    def __truediv__(self, other: Any) -> Tensor:
        other = as_tensor(other, self)
        a, b = self.data, other.data
        return node(a / b, (self, lambda g: g / b), (other, lambda g: -g * a / b**2))  # S: d(a/b) = da/b - a db/b²

    def __pow__(self, exponent: float) -> Tensor:
        x, p = self.data, float(exponent)  # a constant; for x^y with a tensor y use exp(y * log(x))
        if p == 0:  # 0 · x^-1 would be nan at x = 0
            return node(np.ones_like(x), (self, np.zeros_like))
        return node(x**p, (self, lambda g: g * p * x ** (p - 1)))  # S: d(x^p) = p x^(p-1) dx

    def __matmul__(self, other: Any) -> Tensor:
        """(…, N, K) @ (…, K, M) -> (…, N, M)."""
        other = as_tensor(other, self)
        a, b = self.data, other.data
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"Matrix product needs (…, N, K) @ (…, K, M), not {a.shape} @ {b.shape}.")
        return node(
            a @ b,  # (…, N, M): C = A B, so C_nm = Σ_k A_nk B_km and, with G = dL/dC:
            (self, lambda g: g @ b.swapaxes(-1, -2)),  # (…, N, K): dL/dA = G Bᵀ
            (other, lambda g: a.swapaxes(-1, -2) @ g),  # (…, K, M): dL/dB = Aᵀ G
        )

    def __neg__(self) -> Tensor:
        return self * -1.0

    def __sub__(self, other: Any) -> Tensor:
        return self + -as_tensor(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return as_tensor(other, self) - self

    def __rtruediv__(self, other: Any) -> Tensor:
        return as_tensor(other, self) / self

    def __rmatmul__(self, other: Any) -> Tensor:
        return as_tensor(other, self) @ self

    __radd__ = __add__
    __rmul__ = __mul__

    # Summing is the mirror image of broadcasting: what is summed forward is copied back, and the other way round.

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The sum over ``axis`` (all axes where None)."""
        shape = self.shape
        kept = self.data.sum(axis=axis, keepdims=True).shape  # S with 1 at the summed axes

        def pull(g: Array) -> Array:
            return np.broadcast_to(g.reshape(kept), shape)  # S: dL/dx_i = g for every x_i that was summed

        return node(self.data.sum(axis=axis, keepdims=keepdims), (self, pull))

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The mean over ``axis`` (all axes where None)."""
        total = self.sum(axis, keepdims)
        return total * (total.data.size / self.data.size)  # Σx / n

    def backward(self, gradient: Any = None) -> None:
        """Add d(this)/d(node) to ``grad`` of every node that this was computed from, itself included.

        This must hold a single number, or ``gradient`` (dL/d(this), of this shape) says what comes from further up.
        """
        if not self.requires_grad:
            raise ValueError("Nothing to differentiate: no tensor behind this one has requires_grad=True.")
        if gradient is None and self.data.size != 1:
            raise ValueError(f"backward() starts from a single number; this tensor has shape {self.shape}.")
        start = np.ones_like(self.data) if gradient is None else np.asarray(gradient, dtype=self.data.dtype)  # S
        if start.shape != self.shape:
            raise ValueError(f"The gradient has shape {start.shape}, the tensor {self.shape}.")
        arriving: dict[int, Array] = {id(self): start}
        for tensor in reversed(topological_order(self)):
            g = arriving.pop(id(tensor))  # complete: everything that used this tensor came before it in this order
            tensor.grad = g if tensor.grad is None else tensor.grad + g
            for parent, pull in tensor.edges:
                part = unbroadcast(pull(g), parent.shape)
                # Used twice means two paths to the output: the chain rule adds them.
                arriving[id(parent)] = arriving[id(parent)] + part if id(parent) in arriving else part


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """``value`` as a constant; a plain number takes the precision of ``like``, so that float32 stays float32."""
    if isinstance(value, Tensor):
        return value
    return Tensor(np.asarray(value, dtype=like.data.dtype if like is not None and isinstance(value, Real) else None))


def node(data: Array, *edges: tuple[Tensor, Pull]) -> Tensor:
    """The result of an operation. Edges to constants are dropped: no gradient is ever computed for the input images."""
    kept = tuple(edge for edge in edges if edge[0].requires_grad)
    return Tensor(data, bool(kept), kept)


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``g`` down to ``shape``: a value that broadcasting copied n times receives n gradients, which add up.

    This is the whole of "with broadcasting", and the bias of a layer is its everyday case: (N, D) -> (D,).
    """
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # the axes that were added in front
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and g.shape[axis] != 1)
    return g.sum(axis=stretched, keepdims=True)  # shape


def topological_order(output: Tensor) -> list[Tensor]:
    """Every node behind ``output``, parents before children; by an explicit stack, as deep graphs break recursion."""
    order: list[Tensor] = []
    seen = {id(output)}
    stack: list[tuple[Tensor, Iterable[tuple[Tensor, Pull]]]] = [(output, iter(output.edges))]
    while stack:
        tensor, remaining = stack[-1]
        for parent, _ in remaining:
            if id(parent) not in seen:
                seen.add(id(parent))
                stack.append((parent, iter(parent.edges)))
                break
        else:  # all parents are in the list
            order.append(tensor)
            stack.pop()
    return order
