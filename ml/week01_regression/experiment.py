"""Week 1, run: one part for each lesson, in reading order. ``python -m ml.week01_regression.experiment [--quick]``."""

from __future__ import annotations

import numpy as np

from ml.lesson import Run, main
from ml.week01_regression import bandit, clusters, ecosystem, figures, leakage
from ml.week01_regression.calibration import brier, expected_calibration_error, platt
from ml.week01_regression.data import Floats, Integers, blobs, load, noisy_wave
from ml.week01_regression.descent import descend, fit_stochastic, safe_rate, squared_loss
from ml.week01_regression.features import Standardiser, polynomial
from ml.week01_regression.grid import SLIPPERY, policy_values, read_grid, value_iteration
from ml.week01_regression.lasso import largest_penalty, lasso_path
from ml.week01_regression.linear import Linear, digits_lost, fit_qr, with_ones
from ml.week01_regression.logistic import fit_logistic
from ml.week01_regression.metrics import accuracy, confusion_matrix, precision_recall_f1, rmse
from ml.week01_regression.overfitting import bias_and_variance, learning_curve
from ml.week01_regression.q_learning import q_learning
from ml.week01_regression.ranking import average_precision, roc_auc, threshold_for_recall
from ml.week01_regression.ridge import fit_ridge, shrinkage
from ml.week01_regression.softmax import fit_softmax
from ml.week01_regression.splits import cross_validate, k_folds, stratified_folds, three_ways

NOISE = 0.4  # of the generated wave
DISCOUNT = 0.95


def show_descent(run: Run, rng: np.random.Generator) -> None:
    """Diabetes, raw and standardised, by descent; polynomials by QR and by the normal equations."""
    table = load("diabetes")
    y = table.y.astype(float)  # (442,)
    steps = 300 if run.quick else 20_000
    gaps = {}
    for name, x in (("raw units", table.x), ("standardised", Standardiser.fit(table.x).transform(table.x))):
        a = with_ones(x)  # (442, 11)
        best = rmse(y, fit_qr(x, y).predict(x)) ** 2 / 2
        gaps[name] = np.maximum(descend(squared_loss(a, y), np.zeros(11), safe_rate(a), steps).losses - best, 1e-12)
    _, losses = fit_stochastic(x, y, rng, epochs=30, batch=32, rate=0.15)
    digits = [digits_lost(rng, degree) for degree in range(1, 15)]
    run.record(f"loss above minimum after {steps:,} steps, raw units", gaps["raw units"][-1])
    run.record(f"loss above minimum after {steps:,} steps, standardised (1e-12: rounding)", gaps["standardised"][-1])
    run.record("loss above minimum after 30 epochs of mini-batches", losses[-1] - best)
    run.record("weight error at degree 10, QR", digits[9][1])
    run.record("weight error at degree 10, normal equations", digits[9][2])
    run.save(figures.descent(gaps, digits), "descent")


def show_overfitting(run: Run, rng: np.random.Generator) -> None:
    """The same wave with polynomials of every degree, and two of them with ever more rows."""
    degrees, sizes = range(1, 11), [16, 24, 36, 60, 100, 200, 400, 1000]
    repeats = 100 if run.quick else 1000
    parts = np.array([bias_and_variance(rng, d, 30, NOISE, repeats) for d in run.track(degrees, "degrees")])  # (10, 3)
    new_x, new_y = noisy_wave(rng, 5000, NOISE)  # (5000, 1), (5000,)
    curves = {}
    for degree in (2, 10):
        runs = []
        for _ in range(repeats // 5):
            x, y = noisy_wave(rng, sizes[-1], NOISE)  # (1000, 1), (1000,)
            runs.append(learning_curve(polynomial(x, degree), y, polynomial(new_x, degree), new_y, sizes, fit_qr))
        train, new = np.median(runs, axis=0)  # (8,), (8,)
        curves[f"degree {degree}"] = (train, new)
    best = int(parts[:, 2].argmin())
    rows = [(d, *parts[d - 1], parts[d - 1, :2].sum() + NOISE**2) for d in degrees]
    run.table(
        "Over-fitting (30 rows)", ["degree", "bias²", "variance", "error measured", "bias² + variance + noise"], rows
    )
    run.record("best degree for 30 rows", degrees[best])
    run.record("its squared error (noise alone: 0.16)", parts[best, 2])
    run.record("squared error of degree 10", parts[-1, 2])
    run.save(figures.overfitting(list(degrees), parts, sizes, curves, NOISE), "overfitting")


def show_penalties(run: Run, rng: np.random.Generator) -> None:
    """Diabetes: a path of the lasso; 65 columns (squares and products) under ridge; the test rows are asked once."""
    table = load("diabetes")
    y = table.y.astype(float)  # (442,)
    x = Standardiser.fit(table.x).transform(table.x)  # (442, 10)
    penalties = largest_penalty(x, y) * np.logspace(0, -3, 20 if run.quick else 60)  # (m,)
    weights = lasso_path(x, y, penalties)  # (m, 10)
    train, validation, test = three_ways(len(y), rng)
    learn = np.concatenate([train, validation])  # folds take the place of the one validation set
    sweep = np.logspace(-2, 4, 13 if run.quick else 25)  # (s,)
    errors = []
    for rows, held_out in k_folds(len(learn), 5, rng):
        models, columns = _ridge_sweep(table.x[learn[rows]], y[learn[rows]], table.x[learn[held_out]], sweep)
        errors.append([rmse(y[learn[held_out]], model.predict(columns)) for model in models])
    held = np.array(errors)  # (5, s)
    best = float(sweep[held.mean(axis=0).argmin()])
    models, columns = _ridge_sweep(table.x[learn], y[learn], table.x[learn], sweep)
    on_train = np.array([rmse(y[learn], model.predict(columns)) for model in models])  # (s,)
    for name, penalty in (("almost no", 1e-2), ("the chosen", best)):
        (model,), columns = _ridge_sweep(table.x[learn], y[learn], table.x[test], np.array([penalty]))
        run.record(f"diabetes test error with {name} penalty (points)", rmse(y[test], model.predict(columns)))
    run.record("ridge penalty chosen by 5 folds", best)
    run.record("effective parameters of 10 at penalty 100", shrinkage(x, 100.0).sum())
    run.save(figures.regularisation(penalties, weights, table.columns, sweep, (held, on_train), best), "regularisation")


def _ridge_sweep(x: Floats, y: Floats, new: Floats, penalties: Floats) -> tuple[list[Linear], Floats]:
    """Ridge for each penalty on standardised squares and products of x, and ``new`` in the same columns."""
    first = Standardiser.fit(x)
    wide = polynomial(first.transform(x), 2)  # (n, 65)
    second = Standardiser.fit(wide)
    models = [fit_ridge(second.transform(wide), y, float(penalty)) for penalty in penalties]
    return models, second.transform(polynomial(first.transform(new), 2))  # (m, 65)


def show_classification(run: Run, rng: np.random.Generator) -> None:
    """Tumours: weights from train, threshold from validation, one look at the test. Digits: softmax in five folds."""
    table = load("breast_cancer")
    train, validation, test = three_ways(len(table), rng, 0.25, 0.25)
    scaler = Standardiser.fit(table.x[train])
    x, y = scaler.transform(table.x), table.y  # (569, 30), (569,)
    model = fit_logistic(x[train], y[train], penalty=1.0)
    limit = threshold_for_recall(y[validation], model.probability(x[validation]), recall=0.98)
    rows = []
    for name, threshold in (("1/2", 0.5), ("recall 98 % on validation", limit)):
        flagged = (model.probability(x[test]) >= threshold).astype(int)  # (142,)
        precision, recall, f1 = precision_recall_f1(confusion_matrix(y[test], flagged, 2))
        rows.append((name, threshold, precision[1], recall[1], f1[1], accuracy(y[test], flagged)))
    run.table("Tumours, test rows", ["threshold by", "threshold", "precision", "recall", "F1", "accuracy"], rows)
    run.record("tumours: test ROC-AUC", roc_auc(y[test], model.probability(x[test])))
    run.record("tumours: test average precision", average_precision(y[test], model.probability(x[test])))
    digits = load("digits")

    def score(learn: Integers, held_out: Integers) -> float:
        fold = Standardiser.fit(digits.x[learn])
        fitted = fit_softmax(fold.transform(digits.x[learn]), digits.y[learn], penalty=10.0)
        return accuracy(digits.y[held_out], fitted.predict(fold.transform(digits.x[held_out])))

    folds = 2 if run.quick else 5
    scores = cross_validate(run.track(stratified_folds(digits.y, folds, rng), "softmax", folds), score)
    run.record(f"digits: softmax accuracy, {folds} folds", scores.mean())


def show_calibration(run: Run, rng: np.random.Generator) -> None:
    """Is a digit odd? Three models' probabilities for rows they have not seen."""
    table = load("digits")
    truth = table.y % 2  # (1797,)
    names = ("logistic", "naive Bayes", "naive Bayes + Platt")
    out = {name: np.zeros(len(truth)) for name in names}
    for learn, held_out in ecosystem.folds(truth, run.seed):
        scaler = Standardiser.fit(table.x[learn])
        x, new = scaler.transform(table.x[learn]), scaler.transform(table.x[held_out])  # (n, 64), (m, 64)
        out[names[0]][held_out] = fit_logistic(x, truth[learn], penalty=10.0).probability(new)
        cut = 3 * len(learn) // 4  # the last quarter calibrates and does not teach
        bayes = ecosystem.overconfident(x[:cut], truth[learn[:cut]])
        out[names[1]][held_out] = bayes.predict_proba(new)[:, 1]
        mended = platt(truth[learn[cut:]], _log_odds(bayes.predict_log_proba(x[cut:])))
        out[names[2]][held_out] = mended.probability(_log_odds(bayes.predict_log_proba(new))[:, None])
    rows = [(n, roc_auc(truth, p), brier(truth, p), expected_calibration_error(truth, p)) for n, p in out.items()]
    run.table("Odd digits, out of fold", ["model", "ROC-AUC", "Brier", "ECE (10 bins)"], rows)
    for name, _, _, error in rows:
        run.record(f"calibration error, {name}", error)
    run.save(figures.classifiers(truth, out, 10), "calibration")


def _log_odds(log_p: Floats) -> Floats:
    return log_p[:, 1] - log_p[:, 0]  # (n, 2) -> (n,)


def show_leakage(run: Run, rng: np.random.Generator) -> None:
    """Coin flips, predicted: wrong and right."""
    rows = []
    for name, leak in (
        ("features chosen on all rows", leakage.selection_leak),
        ("near copies apart", leakage.copies_leak),
    ):
        wrong, right = leakage.repeat(leak, rng, 5 if run.quick else 40).mean(axis=0)
        rows.append((name, wrong, right))
        run.record(f"accuracy on coin flips, {name}", wrong)
        run.record(f"accuracy on coin flips, honest ({name})", right)
    run.table("Leakage (nothing can be learned: 0.5 is right)", ["leak", "wrong", "right"], rows)


def show_clusters(run: Run, rng: np.random.Generator) -> None:
    """Where first centres matter (25 blobs apart), and digits without their labels."""
    table = load("digits")
    corners = 4.0 * np.stack(np.meshgrid(range(5), range(5)), axis=-1).reshape(25, 2)  # (25, 2)
    points, _ = blobs(rng, 1000, corners, spread=0.5)  # (1000, 2)
    ends = {}
    for name, choose in (("random rows", clusters.at_random), ("k-means++", clusters.plus_plus)):
        starts = run.track(range(20 if run.quick else 200), "k-means")
        ends[name] = np.array([clusters.k_means(points, choose(points, 25, rng)).inertia for _ in starts])
        run.record(f"25 blobs: median inertia from {name}", np.median(ends[name]))
        on_digits = [clusters.k_means(table.x, choose(table.x, 10, rng)).inertia for _ in range(4 if run.quick else 30)]
        run.record(f"digits: median inertia from {name}", np.median(on_digits))
    found = clusters.best_of(table.x, 10, rng)
    run.record("digits: agreement of cells and labels (adjusted Rand)", clusters.adjusted_rand(found.cells, table.y))
    run.save(figures.clusters(found.centres, ends), "clusters")


def show_reinforcement(run: Run, rng: np.random.Generator) -> None:
    """A bandit's regret; a grid world learned from moves against the one computed from its rules."""
    arms = np.array([0.3, 0.4, 0.5, 0.6, 0.7])  # (5,)
    pulls = 2_000 if run.quick else 10_000
    policies = {
        "epsilon-greedy, 0.1": bandit.epsilon_greedy(0.1),
        "UCB1": bandit.ucb1,
        "Thompson": bandit.thompson,
    }
    regrets = {}
    for name, policy in run.track(list(policies.items()), "bandits"):
        regrets[name], _ = bandit.play(policy, arms, pulls, 50 if run.quick else 200, rng)
        run.record(f"regret after {pulls:,} pulls, {name}", regrets[name][-1])
    grid = read_grid(SLIPPERY, slip=0.2)
    best, changes = value_iteration(grid, DISCOUNT)  # (S, A)
    moves = 100_000 if run.quick else 2_000_000
    checkpoints = tuple(int(moves * share) for share in np.logspace(-3, 0, 13))
    learned = q_learning(grid, rng, moves, DISCOUNT, checkpoints=checkpoints)
    policy = learned.q.argmax(axis=1)  # (S,)
    gaps = np.abs(learned.history - best).max(axis=(1, 2))  # (13,)
    run.record("value iteration: rounds to 1e-12", len(changes))
    run.record(f"Q-learning: largest error after {moves:,} moves", gaps[-1])
    lost = best.max(axis=1) - policy_values(grid, policy, DISCOUNT)  # (S,)
    run.record("Q-learning: value that its policy loses in the worst state", lost.max())
    floor = bandit.lai_robbins(arms, 10) / np.log(10)  # regret for each factor e of pulls
    grown = regrets["Thompson"][-1] - regrets["Thompson"][pulls // 10 - 1]
    run.record("Thompson's growth over the last factor 10, of Lai and Robbins' floor", grown / (floor * np.log(10)))
    values = learned.q.max(axis=1)  # (S,)
    run.save(figures.reinforcement(regrets, floor, grid, values, policy, checkpoints, gaps), "reinforcement")


def show_ecosystem(run: Run, rng: np.random.Generator) -> None:
    """scikit-learn's numbers beside ours; the diabetes recipe as one estimator."""
    rows = ecosystem.parity(rng)
    run.table("Largest difference from scikit-learn", ["what", "table", "difference"], rows)
    run.record("largest difference from scikit-learn", max(row[2] for row in rows))
    table = load("diabetes")
    search = ecosystem.search_penalty(ecosystem.diabetes_recipe(), table.x, table.y.astype(float), np.logspace(0, 3, 7))
    run.record("diabetes recipe in scikit-learn: 5-fold error (points)", -search.best_score_)


PARTS = (
    show_descent,
    show_overfitting,
    show_penalties,
    show_classification,
    show_calibration,
    show_leakage,
    show_clusters,
    show_reinforcement,
    show_ecosystem,
)


def experiment(run: Run) -> None:
    """Each part has a generator of its own, so that one part's draws do not change the next one's."""
    for part, rng in zip(PARTS, np.random.default_rng(run.seed).spawn(len(PARTS)), strict=True):
        part(run, rng)


if __name__ == "__main__":
    main(experiment, "Week 1: regression, over-fitting, and learning without labels")
