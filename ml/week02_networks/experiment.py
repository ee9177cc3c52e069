"""Week 2 in one run: signals through depth, optimisers side by side, and three networks that learn to read digits.

    python -m ml.week02_networks.experiment [--quick] [--out FOLDER] [--seed N] [--mnist FOLDER]

Widths, rates and dropout were chosen by the 5,000 validation images; in a run, the test images play no part in training
or choosing. Their accuracy was printed while the recipe was being chosen, though, so the last tenth of a percent
deserves no trust.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ml.lesson import Run, main
from ml.week02_networks import comparison, figures, mnist_torch, training
from ml.week02_networks.activations import relu, softmax, tanh
from ml.week02_networks.initialisation import INITIALISERS, signal_through_depth
from ml.week02_networks.mlp import mlp
from ml.week02_networks.mnist import VARIABLE, Digits, Split, load
from ml.week02_networks.mnist_torch import Recipe
from ml.week02_networks.optimisers import AdamW
from ml.week02_networks.schedules import Scheduler, constant, cosine, step_decay, warm_up
from ml.week02_networks.tensor import Tensor
from ml.week02_networks.training import Epoch

DROPOUT, INPUT_DROPOUT = 0.3, 0.1


def experiment(run: Run) -> None:
    digits = load(run.arguments.mnist)
    run.say(
        f"Data: {digits.name}; {len(digits.train):,} images to train on, {len(digits.validation):,} to choose by, "
        f"{len(digits.test):,} to test, {digits.side}x{digits.side} pixels."
    )
    show_initialisation(run)
    compare_optimisers(run, digits)
    show_schedules(run)
    read_digits(run, digits)


def show_initialisation(run: Run) -> None:
    """How much of a signal is left after 30 layers, for each way to draw the weights."""
    activations = {"tanh": tanh, "ReLU": relu}
    signals = {
        activation: {
            name: signal_through_depth(initialise, function, np.random.default_rng(run.seed))
            for name, initialise in INITIALISERS.items()
        }
        for activation, function in activations.items()
    }
    rows = [
        [name, *(value for a in activations for value in (signals[a][name].forward[-1], signals[a][name].backward[0]))]
        for name in INITIALISERS
    ]
    columns = ["weights", "tanh: forward", "tanh: backward", "ReLU: forward", "ReLU: backward"]
    run.table("Mean square after 30 layers (1 at the start)", columns, rows)
    for activation, name in (("tanh", "Xavier"), ("ReLU", "He")):
        run.record(f"{name}, {activation}: mean square after 30 layers", signals[activation][name].forward[-1])
    run.save(figures.initialisation_figure(signals), "initialisation")


def compare_optimisers(run: Run, digits: Digits) -> None:
    """Each optimiser at its best rate, in the valley and on a network."""
    steps = 100 if run.quick else 400
    rates = comparison.RATES[::2] if run.quick else comparison.RATES
    images = digits.train.first(12_800)
    walks, trainings, rows = [], [], []
    for name in run.track(list(comparison.OPTIMISERS), "optimisers"):
        descents = [comparison.walk_valley(name, rate, 200) for rate in comparison.RATES]
        walks.append(comparison.best_of(descents, last=1))
        fits = [comparison.train_small(name, rate, steps, images) for rate in rates]
        trainings.append(comparison.best_of(fits, last=steps // 10))
        in_valley, on_digits = comparison.final_loss(walks[-1], 1), comparison.final_loss(trainings[-1], steps // 10)
        rows.append([name, walks[-1].rate, in_valley, trainings[-1].rate, on_digits])
        run.record(f"{name}: training loss after {steps} steps (nats)", on_digits)
    columns = ["optimiser", "rate, valley", "loss after 200 steps", "rate, digits", f"loss after {steps} steps"]
    run.table("Optimisers, each at its best learning rate", columns, rows)
    run.save(figures.optimisers_figure(walks, trainings), "optimisers")


def show_schedules(run: Run) -> None:
    """The shapes, over 100 steps."""
    schedules = {
        "constant": constant,
        "step decay: half every 25": step_decay(25, 0.5),
        "cosine": cosine(100),
        "warm-up of 10, then cosine": warm_up(10, cosine(90)),
    }
    run.save(figures.schedules_figure(schedules, 100), "schedules")


def read_digits(run: Run, digits: Digits) -> None:
    """Train three networks by one recipe, then measure them on the test images."""
    recipe = Recipe(epochs=3 if run.quick else 12, batch_size=256 if len(digits.train) > 10_000 else 32)
    if run.quick:
        digits = Digits(digits.name, digits.side, digits.train.first(12_800), digits.validation, digits.test)
        run.say(f"Quick: {recipe.epochs} epochs on {len(digits.train):,} images.")
    pixels = digits.side**2
    histories: dict[str, list[Epoch]] = {}
    answers: dict[str, np.ndarray] = {}
    for hidden in ((512,), (512, 256)):
        name = f"PyTorch, {len(hidden)} hidden"
        torch.manual_seed(run.seed)
        model = mnist_torch.network(pixels, hidden, DROPOUT, INPUT_DROPOUT)
        histories[name] = _watch(run, name, mnist_torch.train(model, digits, recipe, run.seed), recipe.epochs)
        answers[name] = mnist_torch.scores(model, digits.test.images)  # (N, C)
    name = "from scratch, 2 hidden"
    rng = np.random.default_rng(run.seed)
    network = mlp((pixels, 512, 256, 10), rng, dropout=DROPOUT, batch_norm=True, input_dropout=INPUT_DROPOUT)
    histories[name] = _watch(run, name, _train_from_scratch(network, digits, recipe, rng), recipe.epochs)
    answers[name] = training.scores(network, digits.test.images)  # (N, C)
    _report(run, digits.test, histories, answers)


def _train_from_scratch(network: training.Layer, digits: Digits, recipe: Recipe, rng: np.random.Generator) -> Iterable:
    steps = recipe.epochs * (len(digits.train) // recipe.batch_size)
    rising = max(1, round(recipe.warm_up * steps))
    optimiser = AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    scheduler = Scheduler(optimiser, warm_up(rising, cosine(max(1, steps - rising))))
    return training.train(network, digits, optimiser, recipe.epochs, recipe.batch_size, rng, scheduler)


def _watch(run: Run, name: str, epochs: Iterable[Epoch], total: int) -> list[Epoch]:
    started = time.process_time()
    history = list(run.track(epochs, name, total))
    run.say(f"{name}: {(time.process_time() - started) / total:.1f} s of CPU an epoch")
    return history


def _report(run: Run, test: Split, histories: dict[str, list[Epoch]], answers: dict[str, np.ndarray]) -> None:
    rows = []
    for name, logits in answers.items():
        right = logits.argmax(axis=1) == test.labels  # (N,)
        last = histories[name][-1]
        rows.append([name, last.train_accuracy, last.validation_accuracy, right.mean(), int((~right).sum())])
        run.record(f"{name}: test accuracy", float(right.mean()))
    run.table("Reading digits", ["network", "training", "validation", "test accuracy", "wrong"], rows)
    best = max(histories, key=lambda name: histories[name][-1].validation_accuracy)  # chosen without the test images
    probabilities = softmax(Tensor(answers[best])).data  # (N, C)
    counts = figures.confusion_matrix(test.labels, probabilities.argmax(axis=1))  # (C, C)
    run.save(figures.curves_figure(histories), "curves")
    run.save(figures.confusion_figure(counts, f"{best}: test images"), "confusion")
    run.save(figures.mistakes_figure(test.images, test.labels, probabilities), "mistakes")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mnist", type=Path, metavar="FOLDER", help=f"where MNIST lies, as in {VARIABLE}: original files, or the hub's"
    )


if __name__ == "__main__":
    main(experiment, "Week 2: a network learns to read digits", arguments)
