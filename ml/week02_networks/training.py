"""The training loop of the NumPy network: batch, forward, backward, step; and what to watch meanwhile.

Idea: one epoch is one pass over the shuffled training images in small batches. A small batch's gradient is noisy but
cheap, and 400 noisy steps go further than one exact step. After each epoch the network is measured on validation images
that it never trains on; where that loss rises while the training loss still falls, it has begun to memorise.

Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998: shuffle, standardise, small batches.

Left out: early stopping, checkpoints, averaging of weights.

Shapes in the comments: (B, D) is a batch of B images of D pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml.week02_networks.activations import cross_entropy
from ml.week02_networks.layers import Layer
from ml.week02_networks.mnist import Digits, Split
from ml.week02_networks.optimisers import Optimiser
from ml.week02_networks.schedules import Scheduler
from ml.week02_networks.tensor import Array, Tensor


@dataclass(frozen=True)
class Epoch:
    """After one epoch: losses in nats, accuracies in 0..1.

    ``train_loss`` is the mean over the epoch's batches, with dropout on and while the weights still moved, so it can
    lie above the validation loss without anything being wrong.
    """

    number: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


def minibatches(count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Shuffled row numbers (B,), B = ``size`` each.

    What does not fill a last batch is left for another epoch's shuffle: a batch of three would count as much as one of
    128, and batch norm cannot use a batch of one.
    """
    if not 1 <= size <= count:
        raise ValueError(f"The batch size must lie in 1..{count}, not {size}.")
    order = rng.permutation(count)  # (count,)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]  # (B,)


def train(
    network: Layer,
    digits: Digits,
    optimiser: Optimiser,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
    scheduler: Scheduler | None = None,
) -> Iterator[Epoch]:
    """Train in place and yield one Epoch after each; stop asking and training stops."""
    for number in range(1, epochs + 1):
        network.train()
        losses, hits, seen = [], 0, 0
        for rows in minibatches(len(digits.train), batch_size, rng):
            images, labels = digits.train.images[rows], digits.train.labels[rows]  # (B, D), (B,)
            logits = network(Tensor(images))  # (B, C)
            loss = cross_entropy(logits, labels)  # ()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if scheduler:
                scheduler.step()
            losses.append(float(loss.data))
            hits += int((logits.data.argmax(axis=1) == labels).sum())
            seen += len(rows)
        loss_value, accuracy = evaluate(network, digits.validation)
        yield Epoch(number, float(np.mean(losses)), hits / seen, loss_value, accuracy)


def scores(network: Layer, images: Array, batch_size: int = 1_000) -> Array:
    """Logits (N, C) of images (N, D) in use: no dropout, batch norm's running statistics."""
    network.eval()
    parts = [network(Tensor(images[start : start + batch_size])).data for start in range(0, len(images), batch_size)]
    return np.concatenate(parts)  # (N, C)


def evaluate(network: Layer, split: Split) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy in 0..1."""
    logits = scores(network, split.images)  # (N, C)
    accuracy = float((logits.argmax(axis=1) == split.labels).mean())
    return float(cross_entropy(Tensor(logits), split.labels).data), accuracy
