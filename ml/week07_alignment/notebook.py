# %% [markdown]
# # Week 7: from preferences to a policy
#
# People cannot say what an answer is worth; they can say which of two is better. This notebook goes from such votes to
# a score, and from a score to a language model that behaves differently, on a task so small that nothing is estimated.

# %%
from ml.lesson import style_figures

style_figures()

import copy

import numpy as np
import torch
from matplotlib import pyplot as plt

from ml.week07_alignment import exact
from ml.week07_alignment.dpo import dpo
from ml.week07_alignment.kl import AdaptiveKL
from ml.week07_alignment.policy import new_decoder, pretrain, sample
from ml.week07_alignment.ppo import ppo
from ml.week07_alignment.preference import bounded, fit
from ml.week07_alignment.reranking import best_of_n_bound
from ml.week07_alignment.reward_model import ScalarDecoder, preference_pairs
from ml.week07_alignment.toy import as_text, gold, word_features

torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Votes to a score
#
# Bradley and Terry: $P(a \succ b) = \sigma(s_a - s_b)$ with $s = w \cdot x$. So a vote is one row of a logistic
# regression on $x_a - x_b$. The prior pulls $w$ to zero: with few votes, little happens.

# %%
rng = np.random.default_rng(0)
truth = np.array([1.5, -0.7])
counts = [3, 10, 30, 100, 300, 1000]
models = []
for count in counts:
    a, b = rng.normal(size=(2, count, 2))
    first = rng.random(count) < 1 / (1 + np.exp(-(a - b) @ truth))
    better, worse = np.where(first[:, None], a, b), np.where(first[:, None], b, a)
    models.append(fit(better, worse, prior=5.0, names=["clear", "long"]))

figure, axes = plt.subplots(figsize=(6, 3.2))
for j, name in enumerate(models[0].names):
    axes.errorbar(
        np.array(counts) * (1 + 0.05 * j),
        [m.coefficients[j] for m in models],
        [2 * m.errors[j] for m in models],
        marker="os"[j],
        capsize=3,
        label=name,
    )
    axes.axhline(truth[j], color="black", linewidth=0.8, linestyle=":")
axes.set(xscale="log", xlabel="votes", ylabel="coefficient ± 2 standard errors (log-odds)")
axes.set_title("A prior: no effect until the votes speak (dotted: truth)")
axes.legend()
plt.show()

# %% [markdown]
# What is learned moves a passage, but by a bounded amount: `bounded` keeps the order and never reaches the cap.

# %%
print(bounded([-8.0, -0.2, 0.0, 0.1, 3.0, 50.0], cap=1.0).round(3))

# %% [markdown]
# ## A policy whose every response we can list
#
# The reference model writes up to five letters. The prompt names a letter; the true reward is +1 for each such letter
# and -1 for each that repeats the letter before it.

# %%
reference = new_decoder()
losses = list(pretrain(reference, 130, np.random.default_rng(0)))
prompts = torch.zeros(5, dtype=torch.long)
for response, reward in zip(drawn := sample(reference, prompts, generator), gold(prompts, drawn), strict=True):
    print(as_text(0, response).ljust(10), "reward", int(reward))
log_q, rewards = exact.log_prob_table(reference), exact.reward_table(gold)
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} nats a token; expected reward {exact.expected(log_q, rewards):.2f}")

# %% [markdown]
# ## The ceiling, and best of n below it
#
# $\max_\pi E[r] - \beta\,\mathrm{KL}(\pi\|q)$ has the solution $\pi^* \propto q\,e^{r/\beta}$. Every $\beta$ gives the
# most reward that is possible at some KL. Drawing $n$ and keeping the best needs no training and lands close to it.

# %%
for n in (4, 16, 64):
    log_p = exact.best_of_n(log_q, rewards, n)
    distance = exact.kl(log_p, log_q)
    print(
        f"best of {n:2d}: KL {distance:.2f} (bound {best_of_n_bound(n):.2f}), "
        f"reward {exact.expected(log_p, rewards):.2f}, possible {exact.best_at(log_q, rewards, distance):.2f}"
    )

# %% [markdown]
# ## PPO and DPO on the same plane
#
# PPO samples, scores and moves; a controller holds its KL near 1.5 nats. DPO sees only 2,000 pairs of the reference's
# own responses, and never samples.

# %%
paths = {}
policy = copy.deepcopy(reference)
training = ppo(policy, reference, ScalarDecoder(reference), gold, AdaptiveKL(1.5, 0.3), 20, generator)
paths["PPO"] = [(0.0, exact.expected(log_q, rewards))]
for step, _ in enumerate(training, 1):
    if step % 4 == 0:
        log_p = exact.log_prob_table(policy)
        paths["PPO"].append((exact.kl(log_p, log_q), exact.expected(log_p, rewards)))

policy = copy.deepcopy(reference)
paths["DPO"] = paths["PPO"][:1]
pairs = preference_pairs(reference, 2000, generator)
for step, _ in enumerate(dpo(policy, reference, pairs, 0.2, 60, generator, learning_rate=1e-3), 1):
    if step % 15 == 0:
        log_p = exact.log_prob_table(policy)
        paths["DPO"].append((exact.kl(log_p, log_q), exact.expected(log_p, rewards)))

figure, axes = plt.subplots(figsize=(6, 3.6))
axes.plot(*exact.curve(log_q, rewards, rewards).T, color="black", label="best possible")
for (name, path), marker in zip(paths.items(), "o^", strict=True):
    axes.plot(*np.array(path).T, marker=marker, markersize=4, label=name)
axes.set(xlabel="KL to the reference (nats a response)", ylabel="expected reward", xlim=(-0.1, 3))
axes.set_title("Reward is paid for in KL")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Trust, and too much of it
#
# Now the reward is not known; a model of it is fitted on the 2,000 pairs, from two features: asked letters, and
# letters. It sees no repetition, so it cannot know that repeating is bad. The black line is the best policy for the
# true reward; the other is the best policy for the *model*, judged by the true reward.

# %%
x, better, worse = pairs
model = fit(word_features(x, better).numpy(), word_features(x, worse).numpy(), names=["asked letters", "letters"])
print(
    {
        name: (round(c, 2), round(e, 2))
        for name, c, e in zip(model.names, model.coefficients.tolist(), model.errors.tolist(), strict=True)
    }
)
proxy = exact.reward_table(lambda p, r: torch.from_numpy(model.score(word_features(p, r).numpy())))
figure, axes = plt.subplots(figsize=(6, 3.4))
axes.plot(*exact.curve(log_q, rewards, rewards).T, color="black", label="optimised for the true reward")
axes.plot(*exact.curve(log_q, proxy, rewards).T, label="optimised for the reward model")
axes.set(xlabel="KL to the reference (nats a response)", ylabel="expected true reward")
axes.set_title("Over-optimisation, exactly")
axes.legend()
plt.show()
favourite = exact.gibbs(log_q, proxy, 0.04)[0].argmax()
print("its favourite in the end:", as_text(0, exact.all_responses()[favourite]))

# %% [markdown]
# This is why the KL price exists, why a learned score gets a cap, and why nothing should be promoted without a check
# on votes that were held back.
