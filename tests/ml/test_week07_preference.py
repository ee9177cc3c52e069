"""Week 7, the preference model: against scikit-learn, finite differences, and bad input."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml.lesson import data_folder
from ml.week07_alignment.features import passage_matrices, reply_matrices
from ml.week07_alignment.pairs import held_out, interval, load_passages, load_replies, wins
from ml.week07_alignment.preference import (
    NotConvergedError,
    PreferenceModel,
    bounded,
    decay,
    fit,
    fit_voters,
    limit_voters,
    objective,
    reliability,
)


def votes(count=300, width=4, seed=0, strength=(1.0, -2.0, 0.5, 0.0)):
    """Pairs whose winner was drawn from a Bradley-Terry model with these coefficients."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(count, width)), rng.normal(size=(count, width))
    first = rng.random(count) < 1 / (1 + np.exp(-(a - b) @ np.array(strength)[:width]))
    return np.where(first[:, None], a, b), np.where(first[:, None], b, a)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", [0.1, 1.0, 30.0])
def test_coefficients_equal_scikit_learns_logistic_regression_on_differences(seed, prior):
    better, worse = votes(seed=seed)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0, 2, len(better))
    sign = rng.choice([-1.0, 1.0], len(better))  # it insists on two classes
    theirs = LogisticRegression(C=1 / prior, fit_intercept=False, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    theirs.fit((better - worse) * sign[:, None], sign, weight)
    ours = fit(better, worse, weight, prior=prior, standardise=False)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_[0], atol=1e-6)


def test_gradient_and_hessian_equal_finite_differences():
    rng = np.random.default_rng(0)
    d, v, b, w = rng.normal(size=(20, 3)), rng.uniform(0, 2, 20), rng.normal(size=20), rng.normal(size=3)
    _, gradient, hessian = objective(w, d, v, b, 0.7)
    step = 1e-5
    for j in range(3):
        up, down = w.copy(), w.copy()
        up[j] += step
        down[j] -= step
        high, low = objective(up, d, v, b, 0.7), objective(down, d, v, b, 0.7)
        assert gradient[j] == pytest.approx((high[0] - low[0]) / (2 * step), abs=1e-7)
        np.testing.assert_allclose(hessian[j], (high[1] - low[1]) / (2 * step), atol=1e-7)


def test_the_truth_lies_within_the_standard_errors():
    """Of 200 z-scores about 95 % should lie within 1.96: the errors are neither too small nor too large."""
    truth = np.array([1.0, -2.0, 0.5, 0.0])
    models = [fit(*votes(count=800, seed=seed), prior=1e-3) for seed in range(50)]
    z = np.array([(model.coefficients - truth) / model.errors for model in models])
    assert 0.90 <= (np.abs(z) < 1.96).mean() <= 0.99


def test_one_vote_by_hand():
    """One vote on x = 1 with prior 1: w = sigmoid(-w), so w = 0.401058."""
    model = fit([[1.0]], [[0.0]], standardise=False)
    assert model.coefficients[0] == pytest.approx(0.4010581375, abs=1e-8)
    p = 1 / (1 + np.exp(-model.coefficients[0]))
    assert model.errors[0] == pytest.approx((p * (1 - p) + 1) ** -0.5)


def test_little_data_means_little_effect_and_no_data_none():
    sizes = [abs(fit(np.ones((n, 1)), np.zeros((n, 1)), prior=10.0).coefficients[0]) for n in (1, 10, 100)]
    assert sizes[0] < 0.06
    assert sizes == sorted(sizes)
    assert fit([[2.0, 5.0]], [[1.0, 5.0]]).coefficients[1] == 0  # a feature that never differs


def test_units_of_a_feature_do_not_matter_when_standardised():
    better, worse = votes()
    scale = np.array([1.0, 1e4, 1e-3, 1.0])
    np.testing.assert_allclose(
        fit(better, worse).coefficients, fit(better * scale, worse * scale).coefficients * scale, rtol=1e-6, atol=1e-9
    )


def test_a_weight_of_two_is_two_votes():
    better, worse = votes(50)
    twice = np.repeat(np.arange(50), 2)
    np.testing.assert_allclose(
        fit(better, worse, np.full(50, 2.0)).coefficients, fit(better[twice], worse[twice]).coefficients, atol=1e-8
    )


def test_an_offset_that_explains_everything_leaves_nothing_to_learn():
    better, worse = votes(3000)
    known = (better - worse) @ np.array([1.0, -2.0, 0.5, 0.0])
    assert np.abs(fit(better, worse, offset=known).coefficients).max() < 0.15
    assert np.abs(fit(better, worse).coefficients).max() > 1.5


def test_separable_votes_and_huge_features_still_converge():
    model = fit(np.full((1000, 1), 1e6), np.zeros((1000, 1)), standardise=False, prior=1e-3)
    assert np.isfinite(model.coefficients).all()
    with pytest.raises(NotConvergedError, match="1 Newton steps"):
        fit(*votes(), steps=1)


@pytest.mark.parametrize(
    ("better", "worse", "options", "sentence"),
    [
        ([[np.nan]], [[0.0]], {}, "better holds a NaN"),
        ([[1.0]], [[np.inf]], {}, "worse holds a NaN or an infinity"),
        ([1.0], [0.0], {}, "two axes"),
        ([[1.0, 2.0]], [[0.0]], {}, "one shape"),
        (np.empty((0, 2)), np.empty((0, 2)), {}, "above 0"),
        ([[1.0]], [[0.0]], {"prior": 0.0}, "prior is 0.0"),
        ([[1.0]], [[0.0]], {"prior": np.nan}, "prior is nan"),
        ([[1.0]], [[0.0]], {"weight": [1.0, 1.0]}, "weight must have one axis of 1"),
        ([[1.0]], [[0.0]], {"weight": [-1.0]}, "must not be negative"),
        ([[1.0]], [[0.0]], {"weight": [0.0]}, "at least one vote"),
        ([[1.0]], [[0.0]], {"offset": [np.nan]}, "offset holds a NaN"),
        ([[1.0]], [[0.0]], {"names": ["a", "b"]}, "2 names were given for 1 features"),
    ],
)
def test_bad_input_is_one_sentence(better, worse, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(better, worse, **options)


def test_scoring_refuses_other_features():
    model = fit(*votes())
    with pytest.raises(ValueError, match="2 columns; this model was fitted on 4"):
        model.score(np.zeros((1, 2)))


def test_json_gives_back_the_same_model():
    model = fit(*votes(), names=["a", "b", "c", "d"])
    again = PreferenceModel.from_json(model.to_json())
    assert again.names == model.names
    assert (again.coefficients == model.coefficients).all()
    assert (again.errors == model.errors).all()
    assert (again.pairs, again.prior) == (model.pairs, model.prior)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no json",
        '{"version": 2}',
        '{"version": 1, "names": ["a"], "coefficients": [1, 2], "errors": [1], "pairs": 1, "prior": 1}',
        '{"version": 1, "names": ["a"], "coefficients": [NaN], "errors": [1], "pairs": 1, "prior": 1}',
    ],
)
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"preference model|Expecting value"):
        PreferenceModel.from_json(text)


def test_a_bounded_score_keeps_the_order_and_never_passes_the_cap():
    rng = np.random.default_rng(0)
    for cap in (0.01, 0.3, 5.0):
        scores = rng.normal(scale=2 * cap, size=31)
        moved = bounded(scores, cap)
        assert (np.abs(moved) < cap).all()
        assert (np.argsort(moved) == np.argsort(scores)).all()
        np.testing.assert_allclose(bounded(scores + 100, cap), moved, atol=1e-9)  # only differences mean something
    assert (bounded([1.0, 2.0], 0.0) == 0).all()
    assert bounded([], 1.0).shape == (0,)
    with pytest.raises(ValueError, match="cap is -1"):
        bounded([1.0], -1)


def test_decay_halves():
    np.testing.assert_allclose(decay([0, 30, 60], 30), [1, 0.5, 0.25])
    with pytest.raises(ValueError, match="half_life"):
        decay([1.0], 0)
    with pytest.raises(ValueError, match="half_life"):
        decay([-1.0], 1)


def test_one_voter_weighs_at_most_the_limit():
    voters = ["a"] * 10 + ["b", "b", "c"]
    weight = limit_voters(voters, np.ones(13), 4.0)
    assert weight[:10].sum() == pytest.approx(4.0)
    assert (weight[10:] == 1).all()
    assert (limit_voters(voters, np.ones(13), np.inf) == 1).all()
    with pytest.raises(ValueError, match="limit"):
        limit_voters(voters, np.ones(13), 0)


def test_reliability_by_hand():
    weight = reliability(["a", "a", "b"], [1.0, 1.0, 0.0], trust=4.0)  # a: (2 + 3) / 6, b: (0 + 3) / 5
    np.testing.assert_allclose(weight, [2 / 3, 2 / 3, 0.2])
    with pytest.raises(ValueError, match="probability"):
        reliability(["a"], [1.5])


def test_liars_are_found_out():
    better, worse = votes(600, seed=3)
    rng = np.random.default_rng(3)
    voters = rng.integers(0, 40, 600)
    lie = (voters < 12)[:, None]  # 30 %
    up, down = np.where(lie, worse, better), np.where(lie, better, worse)
    test_better, test_worse = votes(2000, seed=4)
    plain, careful = fit(up, down), fit_voters(up, down, voters.tolist(), limit=20.0)
    trusted = reliability(voters.tolist(), careful.probability(up, down))
    assert trusted[voters < 12].mean() < 0.1 < 0.5 < trusted[voters >= 12].mean()
    gaps = [np.abs(m.coefficients - fit(better, worse).coefficients).max() for m in (plain, careful)]
    assert gaps[1] < 0.6 * gaps[0]
    accuracies = [wins(m.score(test_better), m.score(test_worse)).mean() for m in (plain, careful)]
    assert accuracies[1] >= accuracies[0]


def test_the_product_can_import_it_without_torch():
    code = "import sys, ml.week07_alignment.preference; print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_prompt_is_never_on_both_sides():
    prompts = [f"q{i % 40}" for i in range(200)]
    test = held_out(prompts, 0.25, np.random.default_rng(0))
    assert not {p for p, t in zip(prompts, test, strict=True) if t} & {
        p for p, t in zip(prompts, test, strict=True) if not t
    }
    assert test.sum() == 50


def test_the_interval_counts_prompts_not_pairs():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.integers(0, 2, 50).astype(float), 20)  # 50 prompts, 20 pairs each that agree
    alone = interval(values, [str(i) for i in range(1000)], rng)
    honest = interval(values, [str(i // 20) for i in range(1000)], rng)
    assert honest[0] == alone[0] == values.mean()
    assert (honest[2] - honest[1]) > 3.5 * (alone[2] - alone[1])  # sqrt(20) = 4.5


@pytest.mark.skipif(data_folder("hh_rlhf") is None, reason="hh_rlhf is not here")
def test_reranking_replies_beats_chance_and_length_on_held_out_pairs():
    pairs = load_replies(data_folder("hh_rlhf"))
    better, worse = reply_matrices(pairs)
    test = held_out([pair.prompt for pair in pairs], 0.3, np.random.default_rng(0))
    model = fit(better[~test], worse[~test], prior=3.0)
    lengths = np.array([(len(pair.better), len(pair.worse)) for pair in pairs], dtype=float)[test]
    correct = wins(model.score(better[test]), model.score(worse[test]))
    prompts = [pair.prompt for pair, held in zip(pairs, test, strict=True) if held]
    gain = interval(correct - wins(*lengths.T), prompts, np.random.default_rng(0))
    assert interval(correct, prompts, np.random.default_rng(0))[1] > 0.55
    assert gain[1] > 0


@pytest.mark.skipif(data_folder("feedbackqa") is None, reason="feedbackqa is not here")
def test_learning_on_some_agencies_helps_on_another_and_survives_liars():
    pairs, corpus = load_passages(data_folder("feedbackqa"))
    better, worse = passage_matrices(pairs, corpus)
    groups = np.array([pair.group for pair in pairs])
    test = np.isin(groups, ["Australia", "UK"])
    voters = np.random.default_rng(0).integers(0, 80, (~test).sum())
    lie = (voters < 16)[:, None]
    up, down = np.where(lie, worse[~test], better[~test]), np.where(lie, better[~test], worse[~test])
    alone = wins(better[test, 0], worse[test, 0]).mean()
    for model in (fit(better[~test], worse[~test], prior=3.0), fit_voters(up, down, voters.tolist(), prior=3.0)):
        assert wins(model.score(better[test]), model.score(worse[test])).mean() > alone + 0.03
