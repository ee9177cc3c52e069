"""The same network in PyTorch, as one writes it at work: nn.Sequential, DataLoader, AdamW, a scheduler.

Idea: read this beside `mlp.py`, `training.py`, `optimisers.py` and `schedules.py`. It is the same program, nearly
line for line; what PyTorch adds is speed, devices, and the pulls of all the operations that we left out.

Source: PyTorch's tutorial "Deep Learning with PyTorch: A 60 Minute Blitz"; LeCun and others 1998 for the task.

Left out: convolutions, with which MNIST is at 99.7 %; augmentation; mixed precision; compilation.

Shapes in the comments: (B, D) is a batch of B images of D pixels, H a hidden layer's units, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from ml.week02_networks.mnist import Digits, Split
from ml.week02_networks.training import Epoch


@dataclass(frozen=True)
class Recipe:
    """How to train: ``lr`` is the highest learning rate, reached after ``warm_up`` of all steps (a share in 0..1)."""

    epochs: int = 12
    batch_size: int = 256
    lr: float = 4e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05


def network(inputs: int, hidden: Sequence[int], dropout: float = 0.3, input_dropout: float = 0.1) -> nn.Sequential:
    """(B, inputs) -> (B, 10); ``hidden`` such as (512,) or (512, 256). Initialised as in `initialisation.he`.

    PyTorch's own default for nn.Linear is U(±1/√I), variance 1/(3I): a sixth of He's.
    """
    layers: list[nn.Module] = [nn.Dropout(input_dropout)]  # (B, D)
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(dropout)]  # (B, H)
        inputs = size
    model = nn.Sequential(*layers, nn.Linear(inputs, 10))  # (B, C)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # (O, I)
            nn.init.zeros_(layer.bias)  # (O,)
    return model


def loader(split: Split, batch_size: int, seed: int) -> DataLoader:
    """Shuffled batches. The sampler hands whole batches of row numbers to the data set, which indexes once per batch;
    the usual way, row by row and then stacked, takes longer here than the network does."""
    data = TensorDataset(torch.from_numpy(split.images), torch.from_numpy(split.labels))
    rows = RandomSampler(data, generator=torch.Generator().manual_seed(seed))
    return DataLoader(data, sampler=BatchSampler(rows, batch_size, drop_last=True), batch_size=None)


def train(model: nn.Module, digits: Digits, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """Train in place and yield one Epoch after each, measured as in `training.py`."""
    batches = loader(digits.train, recipe.batch_size, seed)
    steps = recipe.epochs * len(batches)
    warm_up = max(1, round(recipe.warm_up * steps))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1 / warm_up, total_iters=max(1, warm_up - 1)),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, steps - warm_up)),
        ],
        milestones=[warm_up],
    )
    for number in range(1, recipe.epochs + 1):
        model.train()
        losses, hits, seen = [], 0, 0
        for images, labels in batches:  # (B, D), (B,)
            logits = model(images)  # (B, C)
            loss = F.cross_entropy(logits, labels)  # ()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            hits += int((logits.argmax(dim=1) == labels).sum())
            seen += len(labels)
        validation_loss, accuracy = evaluate(model, digits.validation)
        yield Epoch(number, float(np.mean(losses)), hits / seen, validation_loss, accuracy)


@torch.inference_mode()
def scores(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Logits (N, C) of images (N, D). eval() switches dropout off; inference_mode records no graph. Both are needed."""
    model.eval()
    return torch.cat([model(part) for part in torch.from_numpy(images).split(1_000)]).numpy()  # (N, C)


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy in 0..1."""
    logits = torch.from_numpy(scores(model, split.images))  # (N, C)
    labels = torch.from_numpy(split.labels)  # (N,)
    accuracy = float((logits.argmax(dim=1) == labels).float().mean())
    return float(F.cross_entropy(logits, labels)), accuracy
