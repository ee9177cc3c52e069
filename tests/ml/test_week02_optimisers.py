"""Optimisers and schedules equal torch's, step by step; and they find the minimum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from ml.week02_networks import optimisers as ours
from ml.week02_networks.schedules import Scheduler, constant, cosine, step_decay, warm_up
from ml.week02_networks.tensor import Tensor

PAIRS = [
    (ours.SGD, torch.optim.SGD, {}, {}),
    (ours.SGD, torch.optim.SGD, {"weight_decay": 0.1}, {"weight_decay": 0.1}),
    (ours.Momentum, torch.optim.SGD, {}, {"momentum": 0.9}),
    (ours.Momentum, torch.optim.SGD, {"mu": 0.5, "weight_decay": 0.1}, {"momentum": 0.5, "weight_decay": 0.1}),
    (ours.Nesterov, torch.optim.SGD, {}, {"momentum": 0.9, "nesterov": True}),
    (
        ours.Nesterov,
        torch.optim.SGD,
        {"mu": 0.7, "weight_decay": 0.1},
        {"momentum": 0.7, "weight_decay": 0.1, "nesterov": True},
    ),
    (ours.RMSProp, torch.optim.RMSprop, {}, {}),
    (ours.RMSProp, torch.optim.RMSprop, *[{"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}] * 2),
    (ours.Adam, torch.optim.Adam, {}, {}),
    (ours.Adam, torch.optim.Adam, *[{"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}] * 2),
    (ours.AdamW, torch.optim.AdamW, *[{"weight_decay": 0.01}] * 2),
    (ours.AdamW, torch.optim.AdamW, *[{"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3}] * 2),
]


@pytest.mark.parametrize(("mine", "yours", "options", "torch_options"), PAIRS)
def test_a_hundred_steps_equal_torch(mine: type, yours: type, options: dict, torch_options: dict) -> None:
    """Two parameters under gradients of very different sizes, and one that never gets a gradient."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 2)), rng.normal(size=4), rng.normal(size=2)]
    parameters = [Tensor(x.copy(), requires_grad=True) for x in start]
    references = [torch.tensor(x, requires_grad=True) for x in start]
    optimiser, reference = mine(parameters, lr=0.02, **options), yours(references, lr=0.02, **torch_options)
    for _ in range(100):
        for index, size in enumerate((100.0, 1e-3)):
            gradient = size * rng.normal(size=start[index].shape)
            parameters[index].grad, references[index].grad = gradient, torch.tensor(gradient)
        optimiser.step()
        reference.step()
        for parameter, expected in zip(parameters, references, strict=True):
            np.testing.assert_allclose(parameter.data, expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(parameters[2].data, start[2])


@pytest.mark.parametrize(
    "optimiser",
    [ours.SGD, ours.Momentum, ours.Nesterov, ours.RMSProp, ours.Adam, ours.AdamW],
)
def test_each_finds_the_bottom_of_a_bowl(optimiser: type[ours.Optimiser]) -> None:
    x = Tensor([5.0, -3.0], requires_grad=True)
    descent = optimiser([x], lr=0.05)
    for _ in range(400):
        descent.zero_grad()
        ((x - np.array([1.0, 2.0])) ** 2 * np.array([1.0, 5.0])).sum().backward()
        descent.step()
    np.testing.assert_allclose(x.data, [1, 2], atol=0.05)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_adams_first_step_has_the_length_of_the_learning_rate(size: float) -> None:
    x = Tensor([0.0, 0.0], requires_grad=True)
    x.grad = np.array([size, -size])
    ours.Adam([x], lr=0.01).step()
    np.testing.assert_allclose(x.data, [-0.01, 0.01], rtol=2e-5)


def scheduled(schedule: Callable[[int], float], steps: int = 60) -> list[float]:
    optimiser = ours.SGD([Tensor([0.0], requires_grad=True)], lr=0.3)
    scheduler = Scheduler(optimiser, schedule)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.lr)
        scheduler.step()
    return rates


def torch_scheduled(make: Callable[[torch.optim.Optimizer], schedulers.LRScheduler], steps: int = 60) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make(optimiser)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


SCHEDULES = {
    "constant": (constant, lambda o: schedulers.ConstantLR(o, factor=1.0)),
    "step decay": (step_decay(7, 0.3), lambda o: schedulers.StepLR(o, step_size=7, gamma=0.3)),
    "cosine": (cosine(59), lambda o: schedulers.CosineAnnealingLR(o, T_max=59)),
    "cosine with floor": (cosine(59, floor=0.1), lambda o: schedulers.CosineAnnealingLR(o, T_max=59, eta_min=0.03)),
    "warm-up, then cosine": (
        warm_up(8, cosine(52)),
        lambda o: schedulers.SequentialLR(
            o,
            [
                schedulers.LinearLR(o, start_factor=1 / 8, total_iters=7),
                schedulers.CosineAnnealingLR(o, T_max=52),
            ],
            milestones=[8],
        ),
    ),
    "warm-up, then steps": (
        warm_up(5, step_decay(10, 0.5)),
        lambda o: schedulers.LambdaLR(o, lambda t: (t + 1) / 5 if t < 5 else 0.5 ** ((t - 5) // 10)),
    ),
}


# torch's SequentialLR passes its own step number on, and warns about it
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_torch(name: str) -> None:
    schedule, make = SCHEDULES[name]
    np.testing.assert_allclose(scheduled(schedule), torch_scheduled(make), rtol=1e-9, atol=1e-12)


def test_a_cosine_stays_on_its_floor() -> None:
    schedule = cosine(10, floor=0.2)
    assert (schedule(0), schedule(10), schedule(1_000)) == (1, 0.2, 0.2)
    assert schedule(5) == pytest.approx(0.6)


def test_misuse_is_one_sentence() -> None:
    for wrong in (lambda: step_decay(0, 0.5), lambda: cosine(0), lambda: warm_up(-1, constant)):
        with pytest.raises(ValueError, match="must"):
            wrong()
    with pytest.raises(ValueError, match="negative"):
        ours.SGD([Tensor([0.0], requires_grad=True)], lr=-1)
    with pytest.raises(ValueError, match="at least one"):
        ours.SGD([], lr=1)
