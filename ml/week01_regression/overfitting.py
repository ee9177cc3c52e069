"""Over-fitting, measured: error against the model's freedom and against the number of examples.

Idea.     More freedom always lowers the error on the training rows. On new rows it falls, turns and rises. Averaged
          over training sets, the error on new rows has exactly three parts,
              E (y - f^(x))^2  =  (E f^(x) - f(x))^2  +  Var f^(x)  +  Var(noise),
                                    bias^2                variance     what nobody can predict
          Freedom buys off bias with variance; examples buy off variance. So a *learning curve* tells what to do:
          train and validation error far apart: get data or a penalty; both high and together: a better model.
Source.   Geman, Bienenstock & Doursat 1992; Hastie, Tibshirani & Friedman 2009, chapter 7.
Left out. Models with more weights than examples, whose error can fall again: exercise 2 (double descent).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ml.week01_regression.data import Floats, noisy_wave, wave
from ml.week01_regression.features import polynomial
from ml.week01_regression.linear import Linear, fit_qr
from ml.week01_regression.metrics import rmse

Fit = Callable[[Floats, Floats], Linear]  # x (n, d), y (n,) -> the model


def degree_curve(
    x: Floats, y: Floats, new_x: Floats, new_y: Floats, degrees: Sequence[int], fit: Fit = fit_qr
) -> tuple[Floats, Floats]:
    """Root mean squared error on the training rows and on new ones for each polynomial degree, (len(degrees),) each."""
    train, new = [], []
    for degree in degrees:
        a, new_a = polynomial(x, degree), polynomial(new_x, degree)  # (n, columns), (m, columns)
        model = fit(a, y)
        train.append(rmse(y, model.predict(a)))
        new.append(rmse(new_y, model.predict(new_a)))
    return np.array(train), np.array(new)


def learning_curve(
    x: Floats,
    y: Floats,
    new_x: Floats,
    new_y: Floats,
    sizes: Sequence[int],
    fit: Fit,
    score: Callable[..., float] = rmse,
) -> tuple[Floats, Floats]:
    """``score`` on the rows trained on and on new ones, when only the first ``size`` rows teach; (len(sizes),) each.

    The rows should be shuffled: the first ones stand for a smaller sample.
    """
    models = [fit(x[:size], y[:size]) for size in sizes]
    train = [score(y[:size], model.predict(x[:size])) for size, model in zip(sizes, models, strict=True)]
    return np.array(train), np.array([score(new_y, model.predict(new_x)) for model in models])


def bias_and_variance(
    rng: np.random.Generator, degree: int, n: int, noise: float = 0.4, repeats: int = 200
) -> tuple[float, float, float]:
    """bias^2, variance and the squared error on fresh noisy points, for polynomials fitted to ``repeats`` samples of n.

    Only generated data allow this: bias needs the true function, variance needs many training sets. x is in -0.9..0.9,
    for at the very ends a polynomial of a high degree is free to swing, and these few points would hide the rest.
    """
    x = np.linspace(-0.9, 0.9, 101)  # (m,)
    fits, errors = [], []
    for _ in range(repeats):
        train_x, train_y = noisy_wave(rng, n, noise)  # (n, 1), (n,)
        predicted = fit_qr(polynomial(train_x, degree), train_y).predict(polynomial(x[:, None], degree))  # (m,)
        fresh = wave(x) + noise * rng.standard_normal(len(x))  # (m,) new measurements at the same places
        fits.append(predicted)
        errors.append(np.mean((fresh - predicted) ** 2))
    table = np.array(fits)  # (repeats, m)
    bias = np.mean((table.mean(axis=0) - wave(x)) ** 2)  # over the m places
    return float(bias), float(table.var(axis=0).mean()), float(np.mean(errors))
