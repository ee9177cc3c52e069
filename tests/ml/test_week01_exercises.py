"""Week 1's exercises, measured; and that the product's confidence is this week's model."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from assistant.answering import confidence
from ml.week01_regression.calibration import brier, expected_calibration_error, platt
from ml.week01_regression.data import load
from ml.week01_regression.ecosystem import diabetes_recipe, folds, overconfident, parity, search_penalty
from ml.week01_regression.exercises import (
    CLIFF,
    double_descent,
    greedy_path,
    isotonic,
    isotonic_calibration,
    learn_cliff,
    move_prior,
    weight_spread,
)
from ml.week01_regression.features import Standardiser
from ml.week01_regression.grid import read_grid
from ml.week01_regression.logistic import Logistic, fit_logistic


def test_the_products_confidence_is_a_logistic_regression() -> None:
    model = Logistic(confidence.BIAS, np.array(confidence.WEIGHTS), np.zeros(5))
    for evidence in (confidence.Evidence(0.7, 0.6, 0.9, 0.2), confidence.Evidence(0.1, 0.0, 0.2, 0.0)):
        expected = confidence.probability(evidence)
        assert model.probability(np.array([astuple(evidence)]))[0] == pytest.approx(expected, abs=1e-12)


def test_a_moved_prior_is_corrected() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(6000) < 0.85).astype(int)
    x = (rng.standard_normal(6000) + 1.5 * y)[:, None]
    balanced = fit_logistic(x[:3000], y[:3000], balanced=True).probability(x[3000:])
    moved = move_prior(balanced, trained=0.5, real=0.85)
    assert expected_calibration_error(y[3000:], balanced) > 0.1
    assert expected_calibration_error(y[3000:], moved) < 0.03
    plain = fit_logistic(x[:3000], y[:3000]).probability(x[3000:])
    assert brier(y[3000:], moved) == pytest.approx(brier(y[3000:], plain), abs=0.002)
    np.testing.assert_allclose(move_prior(moved, 0.85, 0.5), balanced)
    assert move_prior(np.array([0.5]), 0.5, 0.9)[0] == pytest.approx(0.9)  # no evidence: the prior


def test_error_peaks_where_weights_equal_rows_and_falls_again() -> None:
    small, middle, peak, wide = double_descent(np.random.default_rng(0), [10, 25, 40, 800], n=40)
    assert peak > 10 * max(small, middle)
    assert wide < small
    assert wide < middle


def test_standard_errors_tell_the_spread_of_fitted_weights() -> None:
    weights = np.array([3.9, 4.3, 0.5, 3.6])
    spread, claimed = weight_spread(np.random.default_rng(0), weights, -5.0, 1000, 200)
    np.testing.assert_allclose(spread, claimed, rtol=0.15)
    few, _ = weight_spread(np.random.default_rng(0), weights, -5.0, 250, 200)
    np.testing.assert_allclose(few / spread, 2.0, rtol=0.25)  # a quarter of the rows, twice the spread


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(200) / 200
    truth = (rng.random(200) < scores**2).astype(int)
    np.testing.assert_allclose(isotonic(scores, truth), IsotonicRegression().fit_transform(scores, truth), atol=1e-9)


def test_isotonic_mends_naive_bayes_where_platt_falls_short() -> None:
    table = load("digits")
    truth, platts, steps = table.y % 2, np.zeros(len(table)), np.zeros(len(table))
    for learn, held_out in folds(truth, 0):
        teach, mend = np.split(learn, [3 * len(learn) // 4])
        x = Standardiser.fit(table.x[learn]).transform(table.x)
        log_p = overconfident(x[teach], truth[teach]).predict_log_proba(x)
        score = log_p[:, 1] - log_p[:, 0]
        platts[held_out] = platt(truth[mend], score[mend]).probability(score[held_out, None])
        steps[held_out] = isotonic_calibration(score[mend], truth[mend], score[held_out])
    assert expected_calibration_error(truth, steps) < 0.05 < 0.1 < expected_calibration_error(truth, platts)
    assert brier(truth, steps) < brier(truth, platts) - 0.01


def test_sarsa_walks_far_from_the_cliff_and_earns_more_while_learning() -> None:
    grid = read_grid(CLIFF, step=-0.01)
    q, earned = learn_cliff(grid, np.random.default_rng(0), on_policy=False)
    safe_q, safe_earned = learn_cliff(grid, np.random.default_rng(0), on_policy=True)
    assert len(greedy_path(grid, q)) == 14  # up, eleven to the right along the edge, down: thirteen moves
    path = greedy_path(grid, safe_q)
    assert path[-1] == (3, 11)
    assert len(path) > 14
    assert safe_earned[-300:].mean() > earned[-300:].mean()


def test_the_parity_table_of_the_experiment_holds() -> None:
    rows = parity(np.random.default_rng(0))
    assert len(rows) == 10
    assert max(difference for _, _, difference in rows) < 1e-6


def test_the_recipe_fits_its_scaler_inside_the_folds() -> None:
    table = load("diabetes")
    search = search_penalty(diabetes_recipe(), table.x, table.y.astype(float), np.array([1.0, 100.0]))
    assert search.best_params_ == {"model__alpha": 100.0}
    assert 54 < -search.best_score_ < 58
    assert search.best_estimator_["features"].transform(table.x).shape == (442, 55)  # 1 for sex, 9 + 45 products
