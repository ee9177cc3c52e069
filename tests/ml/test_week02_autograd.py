"""Every operation against central differences and against torch.autograd, value and gradient, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ml.week02_networks import activations as act
from ml.week02_networks import operations as op
from ml.week02_networks.gradient_check import gradient_error, numeric_gradient
from ml.week02_networks.tensor import Tensor, unbroadcast

INDEX = (np.array([0, 2, 2, 1]), np.array([1, 0, 0, 3]))  # one element twice
MASK = np.random.default_rng(5).random((3, 4)) < 0.5
LABELS = np.array([1, 3, 0])
TARGETS = np.random.default_rng(6).random((3, 4))
S = (3, 4)


@dataclass(frozen=True)
class Case:
    name: str
    ours: Callable[..., Any]
    torchs: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...] = (S,)
    positive: bool = False


def same(name: str, function: Callable[..., Any], *shapes: tuple[int, ...], positive: bool = False) -> Case:
    """An expression that both libraries spell alike."""
    return Case(name, function, function, shapes or (S,), positive)


CASES = [
    same("add", lambda a, b: a + b, S, S),
    same("add a row", lambda a, b: a + b, S, (4,)),
    same("add a column", lambda a, b: a + b, S, (3, 1)),
    same("add a number", lambda a, b: a + b, S, ()),
    same("add both stretched", lambda a, b: a + b, (3, 1), (2, 1, 4)),
    same("subtract", lambda a, b: a - b, (4,), S),
    same("number minus tensor", lambda a: 2 - a),
    same("negate", lambda a: -a),
    same("multiply", lambda a, b: a * b, S, (3, 1)),
    same("multiply by itself", lambda a: a * a),
    same("divide", lambda a, b: a / b, S, (4,), positive=True),
    same("number over tensor", lambda a: 2 / a, S, positive=True),
    same("square", lambda a: a**2),
    same("power 0", lambda a: a**0),
    same("power -1.5", lambda a: a**-1.5, S, positive=True),
    same("matrix product", lambda a, b: a @ b, S, (4, 2)),
    same("batched matrix product", lambda a, b: a @ b, (2, 3, 4), (2, 4, 2)),
    same("batch by one matrix", lambda a, b: a @ b, (2, 3, 4), (4, 2)),
    same("sum", lambda a: a.sum()),
    same("sum over axis 0", lambda a: a.sum(0), (2, 3, 4)),
    same("sum over two axes", lambda a: a.sum((0, -1)), (2, 3, 4)),
    Case("sum, kept", lambda a: a.sum(1, keepdims=True), lambda a: a.sum(1, keepdim=True)),
    same("mean", lambda a: a.mean()),
    same("mean over axis 1", lambda a: a.mean(1), (2, 3, 4)),
    Case("exp", op.exp, torch.exp),
    Case("log", op.log, torch.log, positive=True),
    Case("sqrt", op.sqrt, torch.sqrt, positive=True),
    Case("absolute", op.absolute, torch.abs),
    Case(
        "where",
        lambda a, b: op.where(MASK, a, b),
        lambda a, b: torch.where(torch.from_numpy(MASK), a, b),
        (S, (4,)),
    ),
    Case("maximum", op.maximum, torch.amax),
    Case("maximum over axis 1", lambda a: op.maximum(a, 1), lambda a: torch.amax(a, 1), ((2, 3, 4),)),
    Case("reshape", lambda a: op.reshape(a, 2, -1), lambda a: a.reshape(2, -1)),
    Case("transpose", op.transpose, lambda a: a.T),
    Case("transpose three axes", lambda a: op.transpose(a, 1, 2, 0), lambda a: a.permute(1, 2, 0), ((2, 3, 4),)),
    Case("take elements", lambda a: op.take(a, INDEX), lambda a: a[INDEX]),
    Case("take a slice", lambda a: op.take(a, slice(1, 3)), lambda a: a[1:3]),
    Case(
        "concatenate",
        lambda a, b: op.concatenate([a, b, a], axis=1),
        lambda a, b: torch.cat([a, b, a], dim=1),
        (S, (3, 2)),
    ),
    Case("sigmoid", act.sigmoid, torch.sigmoid),
    Case("tanh", act.tanh, torch.tanh),
    Case("relu", act.relu, torch.relu),
    Case("gelu", act.gelu, F.gelu),
    Case("gelu, tanh form", act.gelu_tanh, lambda a: F.gelu(a, approximate="tanh")),
    Case("softplus", act.softplus, F.softplus),
    Case("softmax", act.softmax, lambda a: torch.softmax(a, -1), ((2, 3, 4),)),
    Case("softmax over axis 0", lambda a: act.softmax(a, 0), lambda a: torch.softmax(a, 0)),
    Case("log-softmax", act.log_softmax, lambda a: torch.log_softmax(a, -1)),
    Case(
        "cross-entropy",
        lambda a: act.cross_entropy(a, LABELS),
        lambda a: F.cross_entropy(a, torch.from_numpy(LABELS)),
    ),
    Case(
        "binary cross-entropy",
        lambda a: act.binary_cross_entropy(a, TARGETS),
        lambda a: F.binary_cross_entropy_with_logits(a, torch.from_numpy(TARGETS)),
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def draw(case: Case, seed: int) -> list[np.ndarray]:
    """Inputs away from 0, where |x| and ReLU have kinks."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=shape) for shape in case.shapes]
    inputs = [np.asarray(x + 0.05 * np.sign(x)) for x in inputs]
    return [np.abs(x) + 0.3 for x in inputs] if case.positive else inputs


@each_case
def test_gradients_equal_central_differences(case: Case) -> None:
    for seed in range(3):
        assert gradient_error(case.ours, *draw(case, seed)) < 1e-8


@each_case
def test_values_and_gradients_equal_torch(case: Case) -> None:
    for seed in range(3):
        inputs = draw(case, seed)
        ours = [Tensor(x.copy(), requires_grad=True) for x in inputs]
        theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
        mine, yours = case.ours(*ours), case.torchs(*theirs)
        np.testing.assert_allclose(mine.data, yours.detach().numpy(), rtol=1e-12, atol=1e-12)
        above = np.random.default_rng(seed).normal(size=mine.shape)
        mine.backward(above)
        yours.backward(torch.tensor(above))
        for tensor, reference in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(tensor.grad, reference.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_broadcasting_of_random_shapes_equals_torch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = rng.integers(1, 4, size=rng.integers(1, 5))
    shapes = []
    for _ in range(3):  # each input: some axes shrunk to 1, some leading axes left away
        shape = np.where(rng.random(len(full)) < 0.4, 1, full)
        shapes.append(tuple(int(size) for size in shape[rng.integers(0, len(full) + 1) :]))
    inputs = [rng.uniform(0.5, 2, size=shape) for shape in shapes]
    ours = [Tensor(x, requires_grad=True) for x in inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    (((ours[0] + ours[1]) * ours[2] - ours[1] / ours[2]) ** 2).sum().backward()
    (((theirs[0] + theirs[1]) * theirs[2] - theirs[1] / theirs[2]) ** 2).sum().backward()
    for tensor, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(tensor.grad, reference.grad.numpy(), rtol=1e-12)


def test_a_hand_worked_example() -> None:
    x, y = Tensor(3.0, requires_grad=True), Tensor(-2.0, requires_grad=True)
    z = x * y + x**2  # dz/dx = y + 2x = 4, dz/dy = x = 3
    z.backward()
    assert (z.data, x.grad, y.grad, z.grad) == (3, 4, 3, 1)


def test_a_node_used_on_many_paths_gets_their_sum() -> None:
    x = Tensor(2.0, requires_grad=True)
    y = x
    for _ in range(10):
        y = y + y  # 2^10 paths
    y.backward()
    assert x.grad == 1024


def test_gradients_add_up_over_sweeps_of_one_graph() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    middle = x * x
    loss = middle.sum()
    loss.backward()
    loss.backward()  # what the first sweep left in middle.grad must not be pulled again
    np.testing.assert_array_equal(x.grad, [4, 8])


def test_a_graph_of_twenty_thousand_nodes_does_not_overflow_the_stack() -> None:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1e-4
    y.backward()
    assert x.grad == 1


def test_constants_get_no_gradient_and_keep_no_graph() -> None:
    constant, x = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)
    (constant * x).sum().backward()
    assert constant.grad is None
    assert (constant * 2 + 1).edges == ()


@pytest.mark.parametrize("function", [act.sigmoid, act.relu, act.gelu, act.gelu_tanh, act.softplus, act.log_softmax])
def test_single_precision_stays_single(function: Callable[[Tensor], Tensor]) -> None:
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = (2 * function(x) + 1) / 3 - x.mean(axis=0)
    y.sum().backward()
    assert y.data.dtype == x.grad.dtype == np.float32


def test_arrays_on_the_left_make_tensors() -> None:
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    array = np.arange(4.0).reshape(2, 2)
    for result, expected in ((array + x, array + 1), (array * x, array), (array - x, array - 1), (array / x, array)):
        assert isinstance(result, Tensor)
        np.testing.assert_array_equal(result.data, expected)
    np.testing.assert_array_equal((array @ x).data, array @ np.ones((2, 2)))


def test_misuse_is_one_sentence() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="single number"):
        x.backward()
    with pytest.raises(ValueError, match="Nothing to differentiate"):
        Tensor(1.0).backward()
    with pytest.raises(ValueError, match="Matrix product needs"):
        x @ x
    with pytest.raises(ValueError, match="The gradient has shape"):
        x.backward([1.0])


def test_what_broadcasting_copied_is_summed() -> None:
    np.testing.assert_array_equal(unbroadcast(np.ones((5, 3, 4)), (3, 1)), np.full((3, 1), 20))


def test_central_differences_know_a_derivative() -> None:
    x = np.array([[0.3, -1.2]])
    np.testing.assert_allclose(numeric_gradient(lambda v: float(np.sin(v).sum()), x), np.cos(x), atol=1e-9)


def test_the_gradient_check_sees_a_wrong_pull() -> None:
    from ml.week02_networks.tensor import node

    assert gradient_error(lambda x: node(np.sin(x.data), (x, lambda g: g * np.sin(x.data))), np.ones(3)) > 0.1
    mixed = gradient_error(lambda x: node(x.data, (x, lambda g: g[::-1])), np.arange(3.0))  # a sum would not see it
    assert mixed > 0.1


def test_ties_of_a_maximum_share_as_in_torch() -> None:
    values = np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    ours, theirs = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    op.maximum(ours, 1).sum().backward()
    torch.amax(theirs, 1).sum().backward()
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_scores_neither_overflow_nor_lose_their_gradient(dtype: type) -> None:
    values = np.array([[1e4, -1e4, 0.0, 300.0], [-1e4, -1e4, -1e4, -1e4]], dtype=dtype)
    pairs = [
        (act.sigmoid, torch.sigmoid),
        (act.tanh, torch.tanh),
        (act.gelu, F.gelu),
        (act.softplus, F.softplus),
        (act.softmax, lambda t: torch.softmax(t, -1)),
        (act.log_softmax, lambda t: torch.log_softmax(t, -1)),
    ]
    for ours, theirs in pairs:
        x, t = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            y = ours(x)
            y.sum().backward()
        z = theirs(t)
        z.sum().backward()
        np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(x.grad, t.grad.numpy(), rtol=1e-6, atol=1e-6)


def test_the_gradient_of_cross_entropy_is_probability_minus_truth() -> None:
    logits = Tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)
    act.cross_entropy(logits, LABELS).backward()
    np.testing.assert_allclose(logits.grad, (act.softmax(logits).data - np.eye(4)[LABELS]) / 3, atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 4], [0, 1, -1], [0.0, 1.0, 2.0]])
def test_labels_are_checked(labels: list[float]) -> None:
    with pytest.raises(ValueError, match="label"):
        act.cross_entropy(Tensor(np.zeros((3, 4))), np.array(labels))
