"""Bradley-Terry: from "this one was better than that one" to a score, by Newton's method in NumPy.

Idea. Nobody can say that a passage is worth 7.3, but everybody can say which of two is better. Bradley and Terry (1952)
give each item a strength and say ``P(a beats b) = sigmoid(strength_a - strength_b)``. Let the strength be linear in
features, ``w · x``, and the model becomes logistic regression on the *difference* of two feature vectors, without an
intercept (it would cancel: whatever both items share says nothing about which is better). The loss is convex, so there
is one answer and Newton's method finds it in a handful of steps.

What is added for production. A normal prior on ``w`` whose centre is "no effect": ten votes move little, ten thousand
speak. A fixed ``offset`` for what the ranking in force already believes, so that only the rest is learned. Weights per
vote, so that nobody shouts (``limit_voters``), old votes fade (``decay``) and voters who contradict everybody count for
nothing (``reliability``). A cap, so that the learned score moves a passage by a bounded amount (``bounded``).

Source: Bradley & Terry, "Rank Analysis of Incomplete Block Designs" (1952); IRLS as in Hastie, Tibshirani & Friedman,
"The Elements of Statistical Learning", 4.4.1; the voters' reliability is one step of Crowd-BT (Chen et al. 2013).
Left out: ties, features that interact, and robust (sandwich) errors for pairs that share a question.

Almanac's product imports this file: NumPy and the standard library only, typed for mypy --strict. Letters in shapes:
N pairs, F features, M items to score.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class NotConvergedError(ArithmeticError):
    """Newton's method ran out of steps; the message says how far it got."""


@dataclass(frozen=True)
class PreferenceModel:
    """A fitted preference: ``score = features @ coefficients``, in log-odds of being preferred.

    ``errors`` are the coefficients' standard errors (Laplace: the curvature at the optimum, prior included); ``pairs``
    is the total weight that was learned from. Only differences of scores mean something.
    """

    names: tuple[str, ...]
    coefficients: Array  # (F,)
    errors: Array  # (F,)
    pairs: float
    prior: float

    def score(self, features: npt.ArrayLike) -> Array:
        """Log-odds strength of each row of ``features`` (M, F), as (M,); ValueError for a wrong shape or a NaN."""
        x = _matrix(features, "features")  # (M, F)
        if x.shape[1] != len(self.coefficients):
            raise ValueError(f"features has {x.shape[1]} columns; this model was fitted on {len(self.coefficients)}.")
        return x @ self.coefficients  # (M, F) @ (F,) -> (M,)

    def probability(self, better: npt.ArrayLike, worse: npt.ArrayLike) -> Array:
        """P(row of ``better`` is preferred to the same row of ``worse``), (M,)."""
        return sigmoid(self.score(better) - self.score(worse))  # (M,)

    def to_json(self) -> str:
        """One line of JSON; ``from_json`` gives back exactly the same numbers."""
        fields = {"names": self.names, "coefficients": self.coefficients.tolist(), "errors": self.errors.tolist()}
        return json.dumps({"version": 1, **fields, "pairs": self.pairs, "prior": self.prior})

    @classmethod
    def from_json(cls, text: str) -> PreferenceModel:
        """The model that ``to_json`` wrote; ValueError for anything else."""
        try:
            data = json.loads(text)
            if data["version"] != 1:
                raise ValueError(f"version {data['version']!r} of a preference model is not known.")
            names = tuple(str(name) for name in data["names"])
            coefficients = np.array(data["coefficients"], dtype=np.float64)  # (F,)
            errors = np.array(data["errors"], dtype=np.float64)  # (F,)
            model = cls(names, coefficients, errors, float(data["pairs"]), float(data["prior"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is not a preference model: {error!r}.") from error
        if not coefficients.shape == errors.shape == (len(names),):
            raise ValueError("This is not a preference model: names, coefficients and errors differ in length.")
        if not (np.isfinite(coefficients).all() and np.isfinite(errors).all()):
            raise ValueError("This is not a preference model: it holds a number that is not finite.")
        return model


def fit(
    better: npt.ArrayLike,
    worse: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    prior: float = 1.0,
    offset: npt.ArrayLike | None = None,
    standardise: bool = True,
    steps: int = 50,
    tolerance: float = 1e-8,
) -> PreferenceModel:
    """The coefficients that make the votes most probable under the prior.

    ``better`` and ``worse`` are (N, F): row i of one was preferred to row i of the other, with ``weight`` i (N,).
    ``prior`` is the precision of the normal prior; a vote adds at most 1/4 to that of a standardised feature, so a
    prior of 1 weighs as much as the first 4 votes. With ``standardise`` a feature is first divided by the root mean
    square of its differences, so that the prior treats a length in characters and a cosine alike (the coefficients
    come back in the features' own units). ``offset`` (N,) is what is already known of each pair, in
    log-odds that ``better`` wins: the coefficients then explain only the rest. ValueError for bad input;
    NotConvergedError when ``steps`` Newton steps do not bring the gradient under ``tolerance`` per unit of weight.
    """
    x, y = _matrix(better, "better"), _matrix(worse, "worse")  # (N, F), (N, F)
    if x.shape != y.shape or not x.size:
        raise ValueError(f"better and worse need one shape (N, F), with N and F above 0; got {x.shape} and {y.shape}.")
    if not (np.isfinite(prior) and prior > 0):
        raise ValueError(f"prior is {prior}; it must be above 0, or separable votes would have no finite answer.")
    count, width = x.shape
    v = _vector(np.ones(count) if weight is None else weight, "weight", count)  # (N,)
    if (v < 0).any() or not v.any():
        raise ValueError("weight must not be negative, and at least one vote must count.")
    b = _vector(np.zeros(count) if offset is None else offset, "offset", count)  # (N,)
    labels = tuple(names) if names is not None else tuple(f"x{i}" for i in range(width))
    if len(labels) != width:
        raise ValueError(f"{len(labels)} names were given for {width} features.")

    differences = x - y  # (N, F)
    scale = np.sqrt(v @ differences**2 / v.sum()) if standardise else np.ones(width)  # (F,)
    scale[scale == 0] = 1.0  # a feature that never differs keeps its prior: no effect
    w, hessian = _newton(differences / scale, v, b, prior, steps, tolerance)  # (F,), (F, F)
    # Laplace: near its top the posterior is normal, with the inverse curvature as its covariance.
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))  # (F,)
    return PreferenceModel(labels, w / scale, errors / scale, float(v.sum()), float(prior))


def fit_voters(
    better: npt.ArrayLike,
    worse: npt.ArrayLike,
    voters: Sequence[Hashable],
    weight: npt.ArrayLike | None = None,
    *,
    limit: float = np.inf,
    rounds: int = 3,
    names: Sequence[str] | None = None,
    prior: float = 1.0,
) -> PreferenceModel:
    """``fit``, with each voter (N,) held to ``limit`` and weighed by ``reliability``, found in ``rounds`` turns."""
    v = _vector(np.ones(len(voters)) if weight is None else weight, "weight", len(voters))  # (N,)
    model = fit(better, worse, limit_voters(voters, v, limit), names=names, prior=prior)
    for _ in range(rounds):
        trusted = v * reliability(voters, model.probability(better, worse))  # (N,)
        if not trusted.any():
            break  # nobody is believed: the model above stands
        model = fit(better, worse, limit_voters(voters, trusted, limit), names=names, prior=prior)
    return model


def objective(w: Array, d: Array, v: Array, b: Array, prior: float) -> tuple[float, Array, Array]:
    """Negative log-posterior of ``w`` (F,) for differences ``d`` (N, F), weights ``v``, offsets ``b``; with its
    gradient (F,) and its Hessian (F, F).

    L = sum_i v_i log(1 + exp(-m_i)) + prior/2 |w|², where m_i = b_i + w · d_i is the margin of the preferred one.
    """
    margin = b + d @ w  # (N,)
    surprise = sigmoid(-margin)  # (N,) the probability that the model gave to the other outcome
    value = float(v @ np.logaddexp(0.0, -margin) + 0.5 * prior * w @ w)  # log(1 + e^-m), without overflow
    gradient = -d.T @ (v * surprise) + prior * w  # (F, N) @ (N,) -> (F,): dL/dm_i = -v_i sigmoid(-m_i)
    curvature = v * surprise * (1.0 - surprise)  # (N,) d²L/dm_i²: votes near 50:50 teach most
    hessian = d.T @ (curvature[:, None] * d) + prior * np.eye(len(w))  # (F, F)
    return value, gradient, hessian


def _newton(d: Array, v: Array, b: Array, prior: float, steps: int, tolerance: float) -> tuple[Array, Array]:
    """The minimum of ``objective`` (F,) and the Hessian there (F, F)."""
    w = np.zeros(d.shape[1])  # (F,) start at the prior's centre
    value, gradient, hessian = objective(w, d, v, b, prior)
    for _ in range(steps):
        if np.abs(gradient).max() <= tolerance * v.sum():
            return w, hessian
        direction = np.linalg.solve(hessian, gradient)  # (F,) w_new = w - H^-1 g
        size = 1.0
        # A full step can overshoot where the sigmoid is flat. Halve it until the loss falls by a share of what the
        # slope promises (Armijo); a convex function always grants that for a small enough step.
        while True:
            trial = w - size * direction  # (F,)
            new = objective(trial, d, v, b, prior)
            if new[0] <= value - 1e-4 * size * (gradient @ direction) or size < 1e-9:
                break
            size /= 2
        w, (value, gradient, hessian) = trial, new
    if np.abs(gradient).max() <= tolerance * v.sum():
        return w, hessian
    raise NotConvergedError(f"{steps} Newton steps left a gradient of {np.abs(gradient).max():.2e}; allow more steps.")


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow at either end."""
    return np.exp(-np.logaddexp(0.0, -z))  # same shape as z


def bounded(scores: npt.ArrayLike, cap: float) -> Array:
    """Scores (M,) centred on their median and squeezed into [-cap, cap], in the same order.

    Added to the ranking in force, they cannot lift a passage over one that leads it by 2 ``cap`` or more: a wave of
    votes, honest or not, has an end. Small scores pass almost unchanged (tanh has slope 1 at 0).
    """
    s = _vector(scores, "scores", None)  # (M,)
    if not (np.isfinite(cap) and cap >= 0):
        raise ValueError(f"cap is {cap}; it must be 0 or more.")
    if not s.size or cap == 0:
        return np.zeros_like(s)  # (M,) cap 0 switches learning off
    return cap * np.tanh((s - np.median(s)) / cap)  # (M,)


def decay(age: npt.ArrayLike, half_life: float) -> Array:
    """Weights (N,) of votes by ``age`` (N,): 1 for a new one, 1/2 after ``half_life`` (any one unit for both)."""
    ages = _vector(age, "age", None)  # (N,)
    if not half_life > 0 or (ages < 0).any():
        raise ValueError("half_life must be above 0, and no age below 0.")
    return np.exp2(-ages / half_life)  # (N,)


def limit_voters(voters: Sequence[Hashable], weight: npt.ArrayLike, limit: float) -> Array:
    """``weight`` (N,) scaled so that the votes of one voter weigh at most ``limit`` together, (N,)."""
    v = _vector(weight, "weight", len(voters))  # (N,)
    if not limit > 0 or (v < 0).any():
        raise ValueError("limit must be above 0, and no weight below 0.")
    index = _indices(voters)  # (N,) which voter cast vote i
    total = np.bincount(index, weights=v)  # (voters,)
    share = np.ones_like(total)  # (voters,)
    share[total > limit] = limit / total[total > limit]
    return v * share[index]  # (N,)


def reliability(voters: Sequence[Hashable], probability: npt.ArrayLike, trust: float = 4.0) -> Array:
    """A weight in [0, 1] for each vote (N,) from how well its voter agrees with the fitted model.

    ``probability`` (N,) is what the model gives to the outcome that was voted for. With n votes and a sum s of these,
    a voter's honesty is (s + 0.75 trust) / (n + trust): a newcomer starts at 0.75 with the weight of ``trust`` votes.
    Chance is 0.5 and teaches nothing, hence the weight max(0, 2 honesty - 1). Fit, weigh, fit again.
    """
    p = _vector(probability, "probability", len(voters))  # (N,)
    if (p < 0).any() or (p > 1).any() or not trust > 0:
        raise ValueError("probability must lie in [0, 1], and trust above 0.")
    index = _indices(voters)  # (N,)
    honesty = (np.bincount(index, weights=p) + 0.75 * trust) / (np.bincount(index) + trust)  # (voters,)
    return np.maximum(0.0, 2.0 * honesty - 1.0)[index]  # (N,)


def _indices(voters: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(voter, len(known)) for voter in voters], dtype=np.intp)  # (N,)


def _matrix(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{name} must have two axes, (rows, features); it has shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a NaN or an infinity.")
    return array


def _vector(values: npt.ArrayLike, name: str, length: int | None) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (length is not None and len(array) != length):
        raise ValueError(f"{name} must have one axis{'' if length is None else f' of {length}'}, not {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a NaN or an infinity.")
    return array
