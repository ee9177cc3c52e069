"""The same week with scikit-learn: what it gives beyond the formulas, and how far apart our numbers are from its own.

Idea.     Every estimator has ``fit`` and ``predict`` (or ``transform``); a ``Pipeline`` is one too. So the *whole*
          recipe (scaler, features, model) goes through cross-validation as one thing: each fold fits its own scaler,
          and the first leak of ``leakage`` cannot happen.
Source.   Pedregosa et al. 2011; Buitinck et al. 2013 (the design of its API).
Left out. Trees and boosting, which are the first choice for tables in practice; reinforcement learning, which
          scikit-learn does not have (value iteration is the reference there).
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from ml.week01_regression.calibration import brier
from ml.week01_regression.clusters import k_means, plus_plus
from ml.week01_regression.data import Floats, Integers, load
from ml.week01_regression.features import Standardiser
from ml.week01_regression.lasso import fit_lasso
from ml.week01_regression.linear import fit_qr
from ml.week01_regression.logistic import fit_logistic
from ml.week01_regression.ranking import average_precision, roc_auc
from ml.week01_regression.ridge import fit_ridge
from ml.week01_regression.softmax import fit_softmax

Row = tuple[str, str, float]  # what, on which table, the largest difference


def diabetes_recipe() -> Pipeline:
    """Sex as a category, the nine measurements squared and multiplied with each other, then ridge: one estimator."""
    columns = load("diabetes").columns
    sex = columns.index("sex")
    others = [index for index in range(len(columns)) if index != sex]
    curved = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler())
    table = ColumnTransformer([("sex", OneHotEncoder(drop="first"), [sex]), ("curves", curved, others)])
    return Pipeline([("features", table), ("model", Ridge())])


def search_penalty(recipe: Pipeline, x: Floats, y: Floats, penalties: Floats) -> GridSearchCV:
    """The recipe with the penalty that five folds like best, refitted on all of x (n, d), y (n,)."""
    search = GridSearchCV(recipe, {"model__alpha": list(penalties)}, scoring="neg_root_mean_squared_error", cv=5)
    return search.fit(x, y)


def overconfident(x: Floats, y: Integers) -> GaussianNB:
    """Naive Bayes: ranks well, but counts correlated features as independent witnesses, and so is far too sure."""
    return GaussianNB(var_smoothing=1e-3).fit(x, y)


def folds(y: Integers, seed: int) -> list[tuple[Integers, Integers]]:
    """Five stratified folds of y (n,)."""
    return list(StratifiedKFold(5, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))


def parity(rng: np.random.Generator) -> list[Row]:
    """The largest difference between our coefficients (or metrics) and scikit-learn's, on the real tables."""
    diabetes, cancer, digits = load("diabetes"), load("breast_cancer"), load("digits")
    x, y = Standardiser.fit(diabetes.x).transform(diabetes.x), diabetes.y.astype(float)  # (442, 10), (442,)
    rows: list[Row] = [("Standardiser", "diabetes", _gap(x, StandardScaler().fit_transform(diabetes.x)))]
    for name, ours, theirs in (
        ("least squares by QR", fit_qr(x, y), LinearRegression()),
        ("ridge, lambda = 10", fit_ridge(x, y, 10.0), Ridge(alpha=10.0)),
        ("lasso, lambda = 1", fit_lasso(x, y, 1.0), Lasso(alpha=1.0, tol=1e-12, max_iter=100_000)),
    ):
        theirs.fit(x, y)
        rows.append((name, "diabetes", max(_gap(ours.weights, theirs.coef_), abs(ours.intercept - theirs.intercept_))))
    x, truth = Standardiser.fit(cancer.x).transform(cancer.x), cancer.y  # (569, 30), (569,)
    ours = fit_logistic(x, truth, penalty=1.0)
    theirs = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(x, truth)
    rows.append(("logistic, lambda = 1", "breast_cancer", _gap(ours.weights, theirs.coef_[0])))
    p = ours.probability(x)  # (569,)
    rows.append(("ROC-AUC", "breast_cancer", abs(roc_auc(truth, p) - roc_auc_score(truth, p))))
    rows.append(
        ("average precision", "breast_cancer", abs(average_precision(truth, p) - average_precision_score(truth, p)))
    )
    rows.append(("Brier score", "breast_cancer", abs(brier(truth, p) - brier_score_loss(truth, p))))
    x = Standardiser.fit(digits.x).transform(digits.x)  # (1797, 64)
    theirs = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12).fit(x, digits.y)
    rows.append(("softmax, lambda = 10", "digits", _gap(fit_softmax(x, digits.y, 10.0).weights.T, theirs.coef_)))
    start = plus_plus(digits.x, 10, rng)  # (10, 64) the same start for both
    theirs = KMeans(10, init=start, n_init=1, tol=0, algorithm="lloyd").fit(digits.x)
    rows.append(("k-means centres", "digits", _gap(k_means(digits.x, start).centres, theirs.cluster_centers_)))
    return rows


def _gap(ours: Floats, theirs: Floats) -> float:
    return float(np.abs(ours - theirs).max())
