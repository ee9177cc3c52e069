"""Week 1: every coefficient and metric against scikit-learn's, gradients against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from ml.week01_regression import leakage
from ml.week01_regression.calibration import brier, expected_calibration_error, log_loss, murphy, platt, reliability
from ml.week01_regression.data import CLASSIFICATION, line, load, noisy_wave
from ml.week01_regression.descent import descend, fit_descent, fit_stochastic, safe_rate, squared_loss
from ml.week01_regression.features import OneHot, Standardiser, interactions, polynomial
from ml.week01_regression.lasso import duality_gap, fit_lasso, largest_penalty, lasso_path
from ml.week01_regression.linear import digits_lost, fit_normal_equations, fit_qr, with_ones
from ml.week01_regression.logistic import fit_logistic, fit_logistic_descent, hessian, logistic_loss, sigmoid
from ml.week01_regression.metrics import accuracy, confusion_matrix, macro, precision_recall_f1, r_squared, rmse
from ml.week01_regression.overfitting import bias_and_variance, degree_curve, learning_curve
from ml.week01_regression.ranking import auc_by_pairs, average_precision, roc_auc, roc_curve, threshold_for_recall
from ml.week01_regression.ridge import fit_ridge, shrinkage
from ml.week01_regression.softmax import fit_softmax, log_softmax, softmax_hessian, softmax_loss
from ml.week01_regression.splits import cross_validate, group_folds, k_folds, stratified_folds, three_ways

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


def regression_tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    diabetes, wine = load("diabetes"), load("wine")
    return {
        "diabetes": (diabetes.x, diabetes.y.astype(float)),
        "wine's alcohol": (wine.x[:, 1:], wine.x[:, 0]),
        "generated": line(rng, 60, np.array([3.0, -2.0, 0.0, 0.5]), 0.5),
    }


REGRESSION = regression_tables()


@pytest.fixture(params=REGRESSION)
def regression(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return REGRESSION[request.param]


def standardised(name: str) -> tuple[np.ndarray, np.ndarray]:
    table = load(name)
    return Standardiser.fit(table.x).transform(table.x), table.y


def gradient_by_differences(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    gradient = np.empty_like(at)
    for index in np.ndindex(at.shape):
        shift = np.zeros_like(at)
        shift[index] = step
        gradient[index] = (loss(at + shift) - loss(at - shift)) / (2 * step)
    return gradient


# --- linear models ----------------------------------------------------------------------------------------------------


def test_least_squares_equal_scikit_learn_in_raw_units(regression: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = regression
    ours, theirs = fit_qr(x, y), LinearRegression().fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_, **TOLERANCE)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, **TOLERANCE)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), **TOLERANCE)
    assert r_squared(y, ours.predict(x)) == pytest.approx(reference.r2_score(y, theirs.predict(x)))


def test_a_line_by_hand() -> None:
    model = fit_qr(np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 4.0]))
    assert model.intercept == pytest.approx(5 / 6)  # mean(y) - w mean(x) = 7/3 - 3/2
    assert model.weights == pytest.approx([1.5])  # sum (x - 1)(y - 7/3) / sum (x - 1)^2 = 3 / 2


def test_qr_keeps_the_digits_that_the_normal_equations_lose() -> None:
    condition, qr, normal = digits_lost(np.random.default_rng(0), degree=10)
    assert qr < condition * 1e-15 < normal / 100


def test_gradient_descent_reaches_the_same_coefficients(regression: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = regression
    x = Standardiser.fit(x).transform(x)
    ours, run = fit_descent(x, y)
    theirs = LinearRegression().fit(x, y)
    assert run.converged
    assert (np.diff(run.losses) <= 1e-12 * run.losses[:-1]).all()  # the safe rate only goes down
    np.testing.assert_allclose(ours.weights, theirs.coef_, **TOLERANCE)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, **TOLERANCE)


def test_descent_needs_standardised_columns_and_a_small_enough_rate() -> None:
    x, y = REGRESSION["diabetes"]
    assert not fit_descent(x, y, steps=2000)[1].converged
    a = with_ones(Standardiser.fit(x).transform(x))
    with pytest.raises(ValueError, match="is too large"):
        descend(squared_loss(a, y), np.zeros(a.shape[1]), 2.5 * safe_rate(a), 2000)


def test_mini_batches_settle_only_when_the_rate_decays() -> None:
    x, y = line(np.random.default_rng(0), 400, np.array([2.0, -1.0]), 1.0)
    best = fit_qr(x, y).weights

    def error(decay: bool) -> float:
        fits = [fit_stochastic(x, y, np.random.default_rng(seed), 40, 10, 0.3, decay)[0].weights for seed in range(5)]
        return float(np.mean([np.abs(fit - best).max() for fit in fits]))

    assert error(decay=True) < error(decay=False) / 3


@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
def test_ridge_equals_scikit_learn(regression: tuple[np.ndarray, np.ndarray], penalty: float) -> None:
    x, y = regression
    ours, theirs = fit_ridge(x, y, penalty), Ridge(alpha=penalty, solver="svd").fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_, **TOLERANCE)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, **TOLERANCE)


def test_ridge_shrinks_each_principal_direction_by_its_factor() -> None:
    x, y = REGRESSION["diabetes"]
    _, _, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    free, shrunk = directions @ fit_qr(x, y).weights, directions @ fit_ridge(x, y, 50.0).weights
    np.testing.assert_allclose(shrunk, shrinkage(x, 50.0) * free, rtol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.002])
def test_lasso_equals_scikit_learn(regression: tuple[np.ndarray, np.ndarray], share: float) -> None:
    x, y = regression
    x = Standardiser.fit(x).transform(x)
    penalty = share * largest_penalty(x, y)
    ours = fit_lasso(x, y, penalty, tolerance=1e-14)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its tolerance cannot be met to the last bit; it tries on
        theirs = Lasso(alpha=penalty, tol=1e-15, max_iter=20_000).fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_, **TOLERANCE)
    np.testing.assert_array_equal(ours.weights == 0, theirs.coef_ == 0)


def test_lasso_is_zero_exactly_from_the_largest_penalty_on() -> None:
    x, y = standardised("diabetes")
    edge = largest_penalty(x, y.astype(float))
    assert not fit_lasso(x, y, edge * 1.0001).weights.any()
    assert np.count_nonzero(fit_lasso(x, y, edge * 0.99).weights) == 1


def test_the_duality_gap_bounds_the_distance_to_the_minimum() -> None:
    x, y = standardised("diabetes")
    target = y - y.mean()

    def objective(w: np.ndarray) -> float:
        return float(np.mean((target - x @ w) ** 2) / 2 + np.abs(w).sum())

    best = objective(fit_lasso(x, y, 1.0).weights)
    rng = np.random.default_rng(3)
    for _ in range(20):
        w = 20 * rng.standard_normal(x.shape[1])
        assert duality_gap(x, target, w, 1.0) >= objective(w) - best > 0


def test_a_lasso_path_starts_at_zero_and_ends_near_least_squares() -> None:
    x, y = standardised("diabetes")
    path = lasso_path(x, y.astype(float), largest_penalty(x, y.astype(float)) * np.array([1.0, 0.1, 1e-6]))
    np.testing.assert_allclose(path[0], 0, atol=1e-10)  # at the border, the last bit is BLAS's
    np.testing.assert_allclose(path[2], fit_qr(x, y).weights, atol=0.2)


# --- features and splits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_standardiser_equals_scikit_learn(name: str) -> None:
    x = load(name).x  # digits has columns that never vary
    rows = np.arange(0, len(x), 2)
    np.testing.assert_allclose(
        Standardiser.fit(x[rows]).transform(x), StandardScaler().fit(x[rows]).transform(x), rtol=1e-9, atol=1e-12
    )


def test_one_hot_equals_scikit_learn_and_an_unknown_name_is_all_zeros() -> None:
    names = np.array(["team", "bot", "person", "bot", "team"])
    theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(names[:, None])
    new = np.array(["bot", "ghost"])
    np.testing.assert_array_equal(OneHot.fit(names).transform(new), theirs.transform(new[:, None]))
    assert not OneHot.fit(names).transform(["ghost"]).any()


@pytest.mark.parametrize(("d", "degree"), list(product([1, 2, 4], [1, 2, 3])))
def test_polynomial_and_interactions_equal_scikit_learn(d: int, degree: int) -> None:
    x = np.random.default_rng(d).standard_normal((7, d))
    theirs = PolynomialFeatures(degree, include_bias=False).fit_transform(x)
    np.testing.assert_allclose(polynomial(x, degree), theirs, rtol=1e-12)
    theirs = PolynomialFeatures(2, interaction_only=True, include_bias=False).fit_transform(x)
    np.testing.assert_allclose(interactions(x), theirs, rtol=1e-12)


def test_xor_needs_the_interaction() -> None:
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([0, 1, 1, 0])
    plain, crossed = fit_logistic(x, y, 0.01), fit_logistic(interactions(x), y, 0.01)
    np.testing.assert_allclose(plain.probability(x), 0.5, atol=1e-9)
    np.testing.assert_array_equal(crossed.probability(interactions(x)) > 0.5, y)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_held_out_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(10, 60)), int(rng.integers(2, 6))
    y, groups = rng.integers(3, size=n), rng.integers(6, size=n)
    parts = three_ways(n, rng)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    for folds in (k_folds(n, k, rng), stratified_folds(y, k, rng), group_folds(groups, k, rng)):
        pairs = list(folds)
        np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in pairs])), np.arange(n))
        assert all(not set(train) & set(held) and len(train) + len(held) == n for train, held in pairs)
    for _, held in stratified_folds(y, k, rng):
        assert all(abs((y[held] == kind).sum() - (y == kind).sum() / k) < 2 for kind in range(3))
        assert abs(len(held) - n / k) < 1
    for train, held in group_folds(groups, k, rng):
        assert not set(groups[train]) & set(groups[held])


def test_cross_validation_of_the_mean_is_known() -> None:
    y = np.arange(4.0)
    scores = cross_validate(
        k_folds(4, 4, np.random.default_rng(0)), lambda train, held: float(y[train].mean() - y[held][0])
    )
    np.testing.assert_allclose(np.sort(scores), [-2, -2 / 3, 2 / 3, 2])  # (6 - y)/3 - y for y = 3, 2, 1, 0


def test_leaks_show_skill_on_coin_flips_and_honest_splits_do_not() -> None:
    for leak in (leakage.selection_leak, leakage.copies_leak):
        wrong, right = leakage.repeat(leak, np.random.default_rng(0), 12).mean(axis=0)
        assert wrong > 0.8
        assert abs(right - 0.5) < 0.08


# --- over-fitting -----------------------------------------------------------------------------------------------------


def test_error_is_bias_plus_variance_plus_noise() -> None:
    for degree in (1, 3, 5):
        bias, variance, error = bias_and_variance(np.random.default_rng(degree), degree, 40, noise=0.4, repeats=400)
        assert error == pytest.approx(bias + variance + 0.16, rel=0.03)


def test_training_error_only_falls_with_the_degree_and_test_error_turns() -> None:
    rng = np.random.default_rng(0)
    (x, y), (new_x, new_y) = noisy_wave(rng, 25), noisy_wave(rng, 2000)
    train, new = degree_curve(x, y, new_x, new_y, range(1, 13))
    assert (np.diff(train) <= 1e-12).all()
    assert 1 < new.argmin() + 1 < 8
    assert new[-1] > 2 * new.min()


def test_learning_curves_meet_at_the_noise() -> None:
    rng = np.random.default_rng(0)
    (x, y), (new_x, new_y) = noisy_wave(rng, 3000, 0.4), noisy_wave(rng, 3000, 0.4)
    train, new = learning_curve(polynomial(x, 7), y, polynomial(new_x, 7), new_y, [12, 100, 3000], fit_qr)
    assert new[0] - train[0] > 5 * abs(new[2] - train[2])
    assert new[2] == pytest.approx(0.4, rel=0.05)


# --- logistic and softmax ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("balanced", "penalty"), list(product([False, True], [0.1, 1.0, 30.0])))
def test_logistic_equals_scikit_learn_on_tumours(balanced: bool, penalty: float) -> None:
    x, y = standardised("breast_cancer")
    ours = fit_logistic(x, y, penalty, balanced)
    theirs = LogisticRegression(
        C=1 / penalty, class_weight="balanced" if balanced else None, solver="newton-cholesky", tol=1e-12
    ).fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], **TOLERANCE)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_[0], **TOLERANCE)
    np.testing.assert_allclose(ours.probability(x), theirs.predict_proba(x)[:, 1], **TOLERANCE)


def test_unpenalised_logistic_and_its_standard_errors() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((500, 3))
    y = (rng.random(500) < sigmoid(0.5 + x @ np.array([1.0, -2.0, 0.0]))).astype(int)
    ours, theirs = fit_logistic(x, y), LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], **TOLERANCE)
    a, theta = with_ones(x), np.r_[ours.intercept, ours.weights]
    p = theirs.predict_proba(x)[:, 1]
    covariance = np.linalg.inv((a * (p * (1 - p))[:, None]).T @ a)  # the textbook's (A'WA)^-1 with their probabilities
    np.testing.assert_allclose(ours.errors, np.sqrt(np.diag(covariance)), rtol=1e-6)
    assert (np.abs(theta - [0.5, 1.0, -2.0, 0.0]) < 4 * ours.errors).all()


def test_logistic_by_descent_ends_where_newton_does() -> None:
    x, y = standardised("wine")
    y = (y == 1).astype(int)
    newton, walked = fit_logistic(x, y, 5.0), fit_logistic_descent(x, y, 5.0)
    np.testing.assert_allclose(walked.weights, newton.weights, **TOLERANCE)
    np.testing.assert_allclose(walked.intercept, newton.intercept, **TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_logistic_gradient_and_hessian_equal_finite_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, y = with_ones(rng.standard_normal((20, 3))), rng.integers(2, size=20).astype(float)
    counts, theta = rng.random(20), rng.standard_normal(4)
    objective = logistic_loss(a, y, 0.7, counts)
    np.testing.assert_allclose(
        objective(theta)[1], gradient_by_differences(lambda t: objective(t)[0], theta), atol=1e-8
    )
    rows = [gradient_by_differences(lambda t, i=i: objective(t)[1][i], theta) for i in range(4)]
    np.testing.assert_allclose(hessian(a, theta, 0.7, counts), rows, atol=1e-8)


@pytest.mark.parametrize(("name", "penalty"), [("iris", 0.5), ("wine", 1.0), ("digits", 20.0)])
def test_softmax_equals_scikit_learn(name: str, penalty: float) -> None:
    x, y = standardised(name)
    ours = fit_softmax(x, y, penalty)
    theirs = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12).fit(x, y)
    np.testing.assert_allclose(ours.weights.T, theirs.coef_, **TOLERANCE)
    np.testing.assert_allclose(
        ours.intercepts - ours.intercepts.mean(), theirs.intercept_ - theirs.intercept_.mean(), **TOLERANCE
    )
    np.testing.assert_allclose(ours.probability(x), theirs.predict_proba(x), **TOLERANCE)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_softmax_gradient_and_hessian_equal_finite_differences() -> None:
    rng = np.random.default_rng(0)
    a, y, theta = with_ones(rng.standard_normal((12, 2))), rng.integers(3, size=12), rng.standard_normal((3, 3))
    numeric = gradient_by_differences(lambda t: softmax_loss(a, y, t, 0.7)[0], theta)
    np.testing.assert_allclose(softmax_loss(a, y, theta, 0.7)[1], numeric, atol=1e-8)
    columns = [
        gradient_by_differences(lambda t, i=i, k=k: softmax_loss(a, y, t, 0.7)[1][i, k], theta).T.ravel()
        for k in range(3)
        for i in range(3)
    ]
    flat = np.tile([1.0, 0.0, 0.0], 3)  # the curvature that we add along "all intercepts alike"
    np.testing.assert_allclose(softmax_hessian(a, theta, 0.7) - np.outer(flat, flat) / 3, columns, atol=1e-8)


def test_two_class_softmax_is_logistic_regression() -> None:
    x, y = standardised("breast_cancer")
    two, one = fit_softmax(x, y, 4.0), fit_logistic(x, y, 2.0)  # |W|^2 = |w|^2 / 2, so the penalty counts half
    np.testing.assert_allclose(two.weights[:, 1] - two.weights[:, 0], one.weights, **TOLERANCE)
    np.testing.assert_allclose(two.probability(x)[:, 1], one.probability(x), **TOLERANCE)


def test_extreme_scores_do_not_overflow() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1])
        np.testing.assert_allclose(np.exp(log_softmax(np.array([[1e4, 1e4 + np.log(3)]]))), [[0.25, 0.75]])


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_confusion_by_hand() -> None:
    truth, predicted = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0, 0])
    matrix = confusion_matrix(truth, predicted, 2)
    np.testing.assert_array_equal(matrix, [[4, 1], [1, 2]])
    for value in precision_recall_f1(matrix):
        assert value[1] == pytest.approx(2 / 3)
    assert accuracy(truth, predicted) == 0.75


@pytest.mark.parametrize("seed", range(8))
def test_decision_metrics_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(4, size=30), rng.integers(3, size=30)  # class 3 is never predicted
    matrix = confusion_matrix(truth, predicted, 4)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(truth, predicted, labels=range(4)))
    theirs = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for ours, expected in zip(precision_recall_f1(matrix), theirs, strict=False):
        np.testing.assert_allclose(ours, expected)
    f1 = reference.f1_score(truth, predicted, labels=range(4), average="macro", zero_division=0)
    assert macro(precision_recall_f1(matrix)[2]) == pytest.approx(f1)
    y, p = rng.standard_normal(30), rng.standard_normal(30)
    assert rmse(y, p) == pytest.approx(reference.root_mean_squared_error(y, p))
    assert r_squared(y, p) == pytest.approx(reference.r2_score(y, p))


@pytest.mark.parametrize("seed", range(8))
def test_ranking_metrics_equal_scikit_learn_with_many_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = np.r_[0, 1, rng.integers(2, size=60)], rng.integers(12, size=62) / 10
    assert roc_auc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-12)
    assert auc_by_pairs(truth, scores) == pytest.approx(roc_auc(truth, scores), abs=1e-12)
    assert average_precision(truth, scores) == pytest.approx(
        reference.average_precision_score(truth, scores), abs=1e-12
    )
    for ours, theirs in zip(
        roc_curve(truth, scores), reference.roc_curve(truth, scores, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)


def test_a_threshold_reaches_its_recall_and_no_higher_one_does() -> None:
    truth, scores = np.array([0, 1, 1, 0, 1, 1]), np.array([0.1, 0.3, 0.5, 0.5, 0.7, 0.9])
    assert threshold_for_recall(truth, scores, 0.5) == 0.7
    assert threshold_for_recall(truth, scores, 0.51) == 0.5
    assert threshold_for_recall(truth, scores, 1.0) == 0.3


@pytest.mark.parametrize("seed", range(5))
def test_probability_metrics_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random(200).round(2)
    truth = (rng.random(200) < p**2).astype(int)
    assert brier(truth, p) == pytest.approx(brier_score_loss(truth, p), abs=1e-12)
    assert log_loss(truth, p) == pytest.approx(reference.log_loss(truth, p), abs=1e-9)
    share, mean = calibration_curve(truth, p, n_bins=7)
    ours = reliability(truth, p, 7)
    np.testing.assert_allclose(ours[0], mean)
    np.testing.assert_allclose(ours[1], share)
    reliable, resolution, uncertainty = murphy(truth, p)
    assert brier(truth, p) == pytest.approx(reliable - resolution + uncertainty, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    truth, p = np.array([0, 1, 1, 1]), np.array([0.2, 0.4, 0.9, 0.9])
    # bins of 1/2: {.2, .4} mean .3, share .5; {.9, .9} mean .9, share 1
    assert expected_calibration_error(truth, p, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)


def test_platt_mends_overconfidence_and_keeps_the_ranking() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal(4000)
    truth = (rng.random(4000) < sigmoid(z - 1)).astype(int)
    mended = platt(truth[:2000], 6 * z[:2000])  # a model that is six times too sure, and does not know the base rate
    assert mended.weights[0] == pytest.approx(1 / 6, rel=0.15)
    assert mended.intercept == pytest.approx(-1, rel=0.15)
    before, after = sigmoid(6 * z[2000:]), mended.probability(6 * z[2000:, None])
    assert expected_calibration_error(truth[2000:], before) > 0.2
    assert expected_calibration_error(truth[2000:], after) < 0.05
    assert roc_auc(truth[2000:], after) == pytest.approx(roc_auc(truth[2000:], 6 * z[2000:]), abs=1e-12)


def test_platt_equals_scikit_learn_on_few_rows() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((24, 1))
    truth = (x[:, 0] + 0.5 * rng.standard_normal(24) > 0).astype(int)
    model = LogisticRegression().fit(x, truth)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(x, truth)  # Platt's targets, too
    scores = model.decision_function(x)
    ours = platt(truth, scores).probability(scores[:, None])
    np.testing.assert_allclose(ours, theirs.predict_proba(x)[:, 1], atol=1e-5)


# --- bad input --------------------------------------------------------------------------------------------------------

X, Y = np.arange(12.0).reshape(6, 2) ** 2, np.array([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load("titanic"), "No table 'titanic'"),
        (lambda: fit_qr(X[0], Y), "n rows and d columns"),
        (lambda: fit_qr(X, Y[:3]), "as many targets"),
        (lambda: fit_qr(np.where(X == 4, np.nan, X), Y), "NaN"),
        (lambda: fit_qr(np.column_stack([X, X[:, 0] + X[:, 1]]), Y), "not independent"),
        (lambda: fit_qr(X[:2], Y[:2]), "cannot be told from 2 examples"),
        (lambda: fit_ridge(X, Y, 0.0), "above zero"),
        (lambda: fit_lasso(X, Y, -1.0), "not negative"),
        (lambda: fit_lasso(X, Y, 1e-9, sweeps=2), "not converged"),
        (lambda: fit_logistic(X, np.zeros(6)), "both kinds"),
        (lambda: fit_logistic(X, (X[:, 0] > 20).astype(int)), "part the classes"),
        (lambda: fit_softmax(X, Y, 0.0), "above zero"),
        (lambda: fit_softmax(X, 2 * Y, 1.0), "without a gap"),
        (lambda: polynomial(X, 0), "at least 1"),
        (lambda: three_ways(3, np.random.default_rng(), 0.5, 0.5), "cannot be split"),
        (lambda: list(k_folds(3, 4, np.random.default_rng())), "2 to 3 folds"),
        (lambda: roc_auc(np.ones(3), np.ones(3)), "both positives and negatives"),
        (lambda: roc_auc(np.array([0, 2]), np.ones(2)), "0 and 1"),
        (lambda: threshold_for_recall(Y, X[:, 0], 0.0), "recall"),
        (lambda: reliability(Y, X[:, 0]), "0..1"),
        (lambda: rmse(X[:, 0], X[:3, 0]), "one length"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_normal_equations_agree_where_nothing_is_lost() -> None:
    x, y = REGRESSION["generated"]
    np.testing.assert_allclose(fit_normal_equations(x, y).weights, fit_qr(x, y).weights, rtol=1e-10)
