# %% [markdown]
# # Week 1: regression, over-fitting, and learning without labels
#
# Three kinds of learning, told apart by what the world tells the learner:
#
# | kind | what is given | what is learned | here |
# |---|---|---|---|
# | supervised | examples with their answers | a function between them | `linear` … `softmax` |
# | unsupervised | examples alone | structure: groups, directions | `clusters` |
# | reinforcement | rewards for what one did | a way of acting | `bandit`, `q_learning` |
#
# And one cycle that all twelve weeks share: **predict, measure a loss, take its gradient, step, look at data that did
# not teach.** This notebook walks through it; the formulas stand beside the code in the modules.

# %%
from ml.lesson import style_figures

style_figures()

import matplotlib.pyplot as plt
import numpy as np

from ml.week01_regression.data import load, noisy_wave, wave

rng = np.random.default_rng(0)
diabetes = load("diabetes")
print(len(diabetes), "patients:", ", ".join(diabetes.columns))

# %% [markdown]
# ## The exact answer, and the walk to it
#
# Least squares has a closed form. `fit_qr` solves it without squaring the condition number. Gradient descent gets to
# the same weights by steps, provided that the columns have been standardised. Both, on the real table:

# %%
from ml.week01_regression.descent import fit_descent
from ml.week01_regression.features import Standardiser
from ml.week01_regression.linear import fit_qr

x, y = Standardiser.fit(diabetes.x).transform(diabetes.x), diabetes.y.astype(float)  # (442, 10), (442,)
exact = fit_qr(x, y)
walked, run = fit_descent(x, y)
_, raw = fit_descent(diabetes.x, y, steps=len(run.losses))
print(f"standardised: {len(run.losses):,} steps, largest difference {np.abs(walked.weights - exact.weights).max():.1e}")
print(f"raw units:    {len(raw.losses):,} steps, converged: {raw.converged}, loss {raw.losses[-1]:,.0f}")
print(f"the minimum:  loss {run.losses[-1]:,.0f}")

# %% [markdown]
# A weight is now "points of disease progression per standard deviation of the feature". How far can they be trusted?
# `s1` and `s2` (two cholesterol values) are nearly the same measurement; least squares gives them large weights of
# opposite sign. That is variance, and the next two sections are about it.

# %%
for name, weight in sorted(zip(diabetes.columns, exact.weights, strict=True), key=lambda pair: -abs(pair[1])):
    print(f"{name:4} {weight:7.1f}")

# %% [markdown]
# ## Over-fitting
#
# Thirty noisy points of a known curve, and polynomials of rising degree. The error on the points that taught only
# falls.

# %%
from ml.week01_regression.features import polynomial
from ml.week01_regression.overfitting import degree_curve

sample_x, sample_y = noisy_wave(rng, 30)  # (30, 1), (30,)
new_x, new_y = noisy_wave(rng, 2000)  # (2000, 1), (2000,)
grid = np.linspace(-1, 1, 300)  # (300,)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
axes[0].plot(sample_x[:, 0], sample_y, "o", color="grey", markersize=4, label="30 samples")
axes[0].plot(grid, wave(grid), color="black", linewidth=1, linestyle=":", label="truth")
for degree in (1, 3, 12):
    fitted = fit_qr(polynomial(sample_x, degree), sample_y)
    axes[0].plot(grid, fitted.predict(polynomial(grid[:, None], degree)), label=f"degree {degree}")
axes[0].set(ylim=(-2.5, 2.5), xlabel="x", ylabel="y", title="Too stiff, about right, too free")
axes[0].legend(fontsize=7, ncols=2)
degrees = range(1, 13)
train, new = degree_curve(sample_x, sample_y, new_x, new_y, degrees)
axes[1].plot(degrees, train, "o-", label="training rows")
axes[1].plot(degrees, new, "s--", label="new rows")
axes[1].axhline(0.4, color="grey", linewidth=1, linestyle=":")
axes[1].set(ylim=(0, 1.5), xlabel="degree", ylabel="root mean squared error", title="Only new rows tell")
axes[1].legend()
plt.show()

# %% [markdown]
# The dotted line is the noise, 0.4. Training error passes *below* it: the model has begun to learn the noise by
# heart.
#
# ## Penalties
#
# Ridge pays for squared weights, the lasso for absolute ones. Both tame the pair `s1`, `s2`; only the lasso drops
# columns.

# %%
from ml.week01_regression.lasso import fit_lasso
from ml.week01_regression.ridge import fit_ridge

models = {"least squares": exact, "ridge, λ = 50": fit_ridge(x, y, 50.0), "lasso, λ = 3": fit_lasso(x, y, 3.0)}
print(" " * 15 + " ".join(f"{name:>6}" for name in diabetes.columns))
for name, model in models.items():
    print(f"{name:15}" + " ".join(f"{weight:6.1f}" for weight in model.weights))

# %% [markdown]
# Which λ? That is a choice, so it needs rows that did not teach: a validation set, or, where rows are few, cross-
# validation. The test set is for the very end. `leakage` shows what happens otherwise, on coin flips, where 50 % is
# the truth:

# %%
from ml.week01_regression import leakage

for what, leak in (("features chosen on all rows", leakage.selection_leak), ("near copies apart", leakage.copies_leak)):
    wrong, right = leakage.repeat(leak, np.random.default_rng(0), 10).mean(axis=0)
    print(f"{what:28} wrong way {wrong:.0%}, right way {right:.0%}")

# %% [markdown]
# ## From a score to a decision
#
# Logistic regression gives a probability; a *decision* needs a threshold too, and the threshold is a matter of what
# mistakes cost. Tumours, with weights from the training rows and the threshold from the validation rows:

# %%
from ml.week01_regression.calibration import expected_calibration_error
from ml.week01_regression.logistic import fit_logistic
from ml.week01_regression.metrics import confusion_matrix, precision_recall_f1
from ml.week01_regression.ranking import roc_auc, threshold_for_recall
from ml.week01_regression.splits import three_ways

cancer = load("breast_cancer")
train, validation, test = three_ways(len(cancer), np.random.default_rng(3), 0.25, 0.25)
scaler = Standardiser.fit(cancer.x[train])  # the training rows' mean and scale, for all rows
tumours = scaler.transform(cancer.x)  # (569, 30)
model = fit_logistic(tumours[train], cancer.y[train], penalty=1.0)
p = model.probability(tumours)  # (569,)
careful = threshold_for_recall(cancer.y[validation], p[validation], recall=1.0)  # miss none
for threshold in (0.5, careful):
    matrix = confusion_matrix(cancer.y[test], (p[test] >= threshold).astype(int), 2)
    precision, recall, f1 = precision_recall_f1(matrix)
    print(
        f"threshold {threshold:.2f}: precision {precision[1]:.3f}, recall {recall[1]:.3f}, F1 {f1[1]:.3f}",
        matrix.tolist(),
    )
print(f"ROC-AUC {roc_auc(cancer.y[test], p[test]):.3f}")
print(f"ECE {expected_calibration_error(cancer.y[test], p[test]):.3f}")

# %% [markdown]
# The lower threshold trades five false alarms for two tumours. It missed none of the validation rows and still misses
# one here: a threshold chosen on some fifty positives is no exact thing.
#
# This is how Almanac decides whether to answer: `assistant/answering/confidence.py` is a logistic regression on four
# numbers about what the search found, with a threshold of its own.
#
# ## Groups without labels
#
# k-means on the digits has never seen a label, and still finds most of the ten (adjusted Rand index: 1 is perfect, 0
# chance).

# %%
from ml.week01_regression.clusters import adjusted_rand, best_of

digits = load("digits")
found = best_of(digits.x, 10, np.random.default_rng(0), starts=5)
figure, axes = plt.subplots(1, 10, figsize=(9, 1.2))
for axis, centre in zip(axes, found.centres, strict=True):
    axis.imshow(centre.reshape(8, 8), cmap="Greys")
    axis.axis("off")
figure.suptitle(f"Ten centres; adjusted Rand index {adjusted_rand(found.cells, digits.y):.2f}", fontsize=10)
plt.show()

# %% [markdown]
# ## Learning by doing
#
# A bandit has to find the best of five arms while it pays for each pull of a worse one. Then a grid world:
# Q-learning, which only ever sees its own steps, against value iteration, which is given the rules.

# %%
from ml.week01_regression import bandit
from ml.week01_regression.grid import ARROWS, SLIPPERY, read_grid, value_iteration
from ml.week01_regression.q_learning import q_learning

arms = np.array([0.3, 0.4, 0.5, 0.6, 0.7])
figure, axis = plt.subplots(figsize=(5.5, 3))
for name, policy in (
    ("ε-greedy, 0.1", bandit.epsilon_greedy(0.1)),
    ("UCB1", bandit.ucb1),
    ("Thompson", bandit.thompson),
):
    regret, _ = bandit.play(policy, arms, 3000, 40, np.random.default_rng(0))
    axis.plot(np.arange(1, 3001), regret, label=name)
axis.set(xlabel="pulls", ylabel="regret (missed wins)", title="A straight line never stops paying")
axis.legend()
plt.show()

# %%
world = read_grid(SLIPPERY, slip=0.2)
best, _ = value_iteration(world, 0.95)
learned = q_learning(world, np.random.default_rng(0), 150_000, 0.95)
picture = [list(row) for row in SLIPPERY.strip().splitlines()]
for state, (row, column) in enumerate(world.cells):
    if not world.ends[state]:
        picture[row][column] = ARROWS[learned.q[state].argmax()]
print("\n".join(map("".join, picture)))
print("same policy as value iteration:", bool((learned.q.argmax(axis=1) == best.argmax(axis=1))[~world.ends].all()))
print(f"largest difference of a value: {np.abs(learned.q - best).max():.3f}")

# %% [markdown]
# Above the pit (`X`) it turns back and takes the way round the wall's end: with a slip of 20 %, nobody had to tell it.
#
# ## The same with scikit-learn
#
# All of the above is a few lines there, and agrees. What it adds is the *pipeline*: scaler, features and model as one
# object, which cross-validation refits in every fold, so that nothing leaks.

# %%
from ml.week01_regression.ecosystem import diabetes_recipe, parity, search_penalty

for what, table, difference in parity(np.random.default_rng(0)):
    print(f"{what:22} {table:14} differs by {difference:.1e}")
search = search_penalty(diabetes_recipe(), diabetes.x, y, np.logspace(0, 3, 7))
print(f"diabetes with products: λ = {search.best_params_['model__alpha']:.0f}, error {-search.best_score_:.1f} points")
