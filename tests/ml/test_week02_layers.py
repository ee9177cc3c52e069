"""Initialisation, dropout, batch norm and whole networks against torch; signals through depth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from ml.week02_networks.activations import cross_entropy, gelu, relu, tanh
from ml.week02_networks.batch_norm import BatchNorm
from ml.week02_networks.dropout import Dropout, drop
from ml.week02_networks.gradient_check import gradient_error
from ml.week02_networks.initialisation import he, large, signal_through_depth, small, xavier, zeros
from ml.week02_networks.layers import Linear, Sequential
from ml.week02_networks.mlp import mlp
from ml.week02_networks.optimisers import SGD, AdamW
from ml.week02_networks.tensor import Tensor


@pytest.mark.parametrize(
    ("mine", "yours"),
    [
        (xavier, nn.init.xavier_uniform_),
        (he, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu")),
    ],
)
def test_initial_weights_are_distributed_as_torchs(mine, yours) -> None:
    torch.manual_seed(0)
    weights = mine(300, 200, np.random.default_rng(0))
    reference = yours(torch.empty(200, 300, dtype=torch.float64)).numpy()  # (O, I)
    assert weights.shape == (300, 200)
    shares = np.linspace(0, 1, 21)  # the ends tell a uniform draw from a normal one
    scale = reference.std()
    np.testing.assert_allclose(
        np.quantile(weights, shares)[1:-1] / scale, np.quantile(reference, shares)[1:-1] / scale, atol=0.03
    )
    assert np.abs(weights).max() / scale == pytest.approx(np.abs(reference).max() / scale, rel=0.25)


def test_signals_survive_thirty_layers_with_the_right_weights_only() -> None:
    def ends(initialise, activation) -> tuple[float, float]:
        signal = signal_through_depth(initialise, activation, np.random.default_rng(0), width=128)
        assert len(signal.forward) == len(signal.backward) == 31
        return float(signal.forward[-1]), float(signal.backward[0])

    assert all(0.2 < end < 5 for end in ends(he, relu))
    assert all(0.005 < end < 5 for end in ends(xavier, tanh))
    for end in ends(xavier, relu):  # half a layer: 2^-30 is 9e-10
        assert 1e-11 < end < 1e-7
    assert max(ends(small, relu)) < 1e-30
    assert min(ends(large, relu)) > 1e30
    assert ends(zeros, relu) == (0, 0)


def test_units_that_start_equal_stay_equal() -> None:
    rng = np.random.default_rng(0)
    first, second = Linear(5, 4, rng), Linear(4, 3, rng)
    for layer in (first, second):
        layer.weight.data[:] = 0.1
    images, labels = Tensor(rng.normal(size=(20, 5)).astype(np.float32)), rng.integers(0, 3, 20)
    optimiser = SGD(first.parameters() + second.parameters(), lr=0.5)
    for _ in range(10):
        optimiser.zero_grad()
        cross_entropy(second(relu(first(images))), labels).backward()
        optimiser.step()
    assert np.ptp(first.weight.data, axis=1).max() == 0  # four units, one function
    assert not np.allclose(first.weight.data, 0.1)  # although they learned


def test_dropout_equals_torchs_with_torchs_mask() -> None:
    torch.manual_seed(0)
    values, above = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    reference = values.clone().requires_grad_()
    expected = nn.functional.dropout(reference, 0.3)
    expected.backward(above)
    x = Tensor(values.numpy(), requires_grad=True)
    y = drop(x, expected.detach().numpy() != 0, 0.3)
    y.backward(above.numpy())
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.grad, reference.grad.numpy(), rtol=1e-12)


def test_dropout_drops_its_share_and_keeps_the_expectation() -> None:
    layer = Dropout(0.3, np.random.default_rng(0))
    x = Tensor(np.ones((400, 500)))
    y = layer(x).data
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert not np.array_equal(y, layer(x).data)  # a new draw each time
    layer.eval()
    assert layer(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_a_probability_of_dropping_is_one(p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        Dropout(p, np.random.default_rng(0))


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_batch_norm_equals_torchs_in_training_and_in_use(momentum: float) -> None:
    rng = np.random.default_rng(0)
    mine = BatchNorm(4, momentum=momentum, eps=1e-3, dtype=np.float64)
    yours = nn.BatchNorm1d(4, momentum=momentum, eps=1e-3, dtype=torch.float64)
    mine.scale.data, mine.shift.data = rng.normal(size=4), rng.normal(size=4)
    with torch.no_grad():
        yours.weight[:], yours.bias[:] = torch.tensor(mine.scale.data), torch.tensor(mine.shift.data)
    for step in range(6):
        training = step != 3  # in use in between, too: the statistics must stay as they are
        mine.train(training)
        yours.train(training)
        values, above = rng.normal(3, 2, size=(7, 4)), rng.normal(size=(7, 4))
        x, t = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        y, z = mine(x), yours(t)
        np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-10, atol=1e-12)
        for parameter in (mine.scale, mine.shift):
            parameter.grad = None
        yours.zero_grad()
        y.backward(above)
        z.backward(torch.tensor(above))
        for got, expected in ((x, t), (mine.scale, yours.weight), (mine.shift, yours.bias)):
            np.testing.assert_allclose(got.grad, expected.grad.numpy(), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(mine.running_mean, yours.running_mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(mine.running_variance, yours.running_var.numpy(), rtol=1e-12)


def test_batch_norm_gradients_equal_central_differences() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert gradient_error(lambda t: BatchNorm(3, dtype=np.float64)(t), x) < 1e-8


def test_batch_norm_refuses_what_has_no_variance() -> None:
    with pytest.raises(ValueError, match="two rows"):
        BatchNorm(3)(Tensor(np.ones((1, 3))))
    with pytest.raises(ValueError, match="3 features"):
        BatchNorm(3)(Tensor(np.ones((2, 4))))


def test_in_use_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    network = mlp((6, 8, 3), rng, dropout=0.5, batch_norm=True)
    x = rng.normal(size=(5, 6)).astype(np.float32)
    assert not np.allclose(network(Tensor(x)).data[0], network(Tensor(x[:2])).data[0])
    network.eval()
    np.testing.assert_allclose(network(Tensor(x)).data[0], network(Tensor(x[:2])).data[0], rtol=1e-5)


def test_a_network_learns_exactly_as_torchs_does() -> None:
    """Linear, batch norm, GELU and AdamW, thirty steps from the same weights, in double precision."""
    rng = np.random.default_rng(0)
    sizes = (6, 8, 7, 3)
    network = mlp(sizes, rng, activation=gelu, batch_norm=True)
    for parameter in network.parameters():
        parameter.data = parameter.data.astype(np.float64)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.GELU()]
    reference = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1])).double()
    with torch.no_grad():
        for parameter, theirs in zip(network.parameters(), reference.parameters(), strict=True):
            theirs.copy_(torch.tensor(parameter.data.T))
    mine = AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    yours = torch.optim.AdamW(reference.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(30):
        x, labels = rng.normal(size=(16, 6)), rng.integers(0, 3, 16)
        loss = cross_entropy(network(Tensor(x)), labels)
        mine.zero_grad()
        loss.backward()
        mine.step()
        their_loss = nn.functional.cross_entropy(reference(torch.tensor(x)), torch.tensor(labels))
        yours.zero_grad()
        their_loss.backward()
        yours.step()
        assert float(loss.data) == pytest.approx(their_loss.item(), rel=1e-8)
    for parameter, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(parameter.data.T, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_train_and_eval_reach_every_layer() -> None:
    network = Sequential([mlp((3, 4, 2), np.random.default_rng(0), dropout=0.1, batch_norm=True)])
    network.eval()
    assert not any(layer.training for layer in (network, *network.layers, *network.layers[0].layers))
    network.train()
    assert all(layer.training for layer in (network, *network.layers, *network.layers[0].layers))


@pytest.mark.parametrize("sizes", [(3,), (3, 0, 2)])
def test_sizes_are_checked(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        mlp(sizes, np.random.default_rng(0))
