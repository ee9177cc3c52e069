"""The six optimisers side by side: on a surface one can see, and on the same small network.

Idea: a comparison of optimisers compares learning rates unless each gets its own. So each one runs at every rate of a
grid and is shown at its best, the rate with the lowest loss at the end; the tables name the rate that won.

The surface is Rosenbrock's valley, f(x, y) = (1 - x)² + 20 (y - x²)²: steep walls, a floor that falls slowly along a
bend, and one minimum at (1, 1). Plain descent bounces between the walls or creeps; that is what momentum was made for.

Source: Rosenbrock 1960 (with 100 in place of 20); Schmidt and others, "Descending through a Crowded Valley", 2021, on
how much such rankings depend on the tuning.

Left out: tuning the momenta as well, and repeating over seeds: read the order of the curves as an example, not a law.

Shapes in the comments: (T, 2) are T points of the plane, (B, D) a batch of B images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import numpy as np

from ml.week02_networks.activations import cross_entropy
from ml.week02_networks.mlp import mlp
from ml.week02_networks.mnist import Split
from ml.week02_networks.optimisers import SGD, Adam, AdamW, Momentum, Nesterov, Optimiser, RMSProp
from ml.week02_networks.tensor import Array, Tensor
from ml.week02_networks.training import minibatches

Maker = Callable[[list[Tensor], float], Optimiser]
RATES = tuple(10.0**exponent for exponent in np.arange(-4, 0.01, 0.5))  # 1e-4, 3e-4, … 1
OPTIMISERS: dict[str, Maker] = {
    "SGD": SGD,
    "Momentum": Momentum,
    "Nesterov": Nesterov,
    "RMSProp": RMSProp,
    "Adam": Adam,
    "AdamW": lambda parameters, lr: AdamW(parameters, lr, weight_decay=0.1),
}


@dataclass(frozen=True)
class Walk:
    """One optimiser at one rate: ``losses`` (T,) before each step, ``path`` (T, 2) where there is one to draw."""

    name: str
    rate: float
    losses: Array
    path: Array


def valley(point: Tensor) -> Tensor:
    """Rosenbrock's function of a point (2,)."""
    x, y = point * [1.0, 0.0], point * [0.0, 1.0]  # (2,) each, the other coordinate zeroed
    x, y = x.sum(), y.sum()  # () each
    return (1 - x) ** 2 + 20 * (y - x**2) ** 2  # ()


def walk_valley(name: str, rate: float, steps: int, start: tuple[float, float] = (-1.2, 1.6)) -> Walk:
    """``steps`` steps down the valley; it stops early where the loss has run away."""
    point = Tensor(np.array(start), requires_grad=True)  # (2,)
    optimiser = OPTIMISERS[name]([point], rate)
    losses, path = [], []
    for _ in range(steps):
        loss = valley(point)  # ()
        losses.append(float(loss.data))
        path.append(point.data.copy())  # (2,)
        if losses[-1] > 1e4:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Walk(name, rate, np.array(losses), np.array(path))  # (T,), (T, 2)


def train_small(name: str, rate: float, steps: int, split: Split, hidden: int = 64, batch_size: int = 64) -> Walk:
    """The loss of each batch while one hidden layer learns; weights and batches are the same for every optimiser."""
    rng = np.random.default_rng(1)
    network = mlp((split.images.shape[1], hidden, 10), rng)
    optimiser = OPTIMISERS[name](network.parameters(), rate)
    batches = chain.from_iterable(minibatches(len(split), batch_size, rng) for _ in count())
    losses: list[float] = []
    for rows in islice(batches, steps):
        with np.errstate(over="ignore", invalid="ignore"):  # too high a rate may run away: that is a finding
            loss = cross_entropy(network(Tensor(split.images[rows])), split.labels[rows])  # (B, D) -> ()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses.append(float(loss.data))
        if not np.isfinite(losses[-1]):
            break
    return Walk(name, rate, np.array(losses), np.empty((0, 2)))  # (T,), no path to draw


def final_loss(walk: Walk, last: int) -> float:
    """The mean of the ``last`` losses; infinite where it ran away."""
    value = float(np.mean(walk.losses[-last:]))
    return value if np.isfinite(value) else np.inf


def best_of(walks: Sequence[Walk], last: int) -> Walk:
    """The walk with the lowest loss at the end, averaged over the ``last`` steps."""
    return min(walks, key=lambda walk: final_loss(walk, last))
