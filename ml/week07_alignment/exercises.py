"""Answers to the exercises of week 7: each is a function that measures what the README claims."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ml.week07_alignment import exact
from ml.week07_alignment.kl import k1, k2, k3
from ml.week07_alignment.ppo import gae
from ml.week07_alignment.preference import fit
from ml.week07_alignment.reranking import best_of_n_bound


def prior_at_work(counts: tuple[int, ...] = (1, 10, 100, 1000), flips: float = 0.2, seed: int = 0) -> list[float]:
    """Exercise 1: one feature whose higher value wins in ``1 - flips`` of the votes. The learned log-odds after so many
    votes, with a prior of 10: towards log(0.8 / 0.2) = 1.39 with many, near 0 with one.
    """
    rng = np.random.default_rng(seed)
    learned = []
    for count in counts:
        sign = np.where(rng.random(count) < flips, -1.0, 1.0)[:, None]  # (N, 1)
        learned.append(float(fit(sign, np.zeros_like(sign), prior=10.0).coefficients[0]))
    return learned


def estimators(log_p: Tensor, log_q: Tensor, samples: int = 10_000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Exercise 2: (mean, standard deviation of one sample) of k1, k2 and k3 for distributions (R,), and the truth."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(log_p.exp(), samples, replacement=True, generator=generator)  # (samples,)
    found = {"exact": (exact.kl(log_p[None], log_q[None]), 0.0)}
    for name, estimator in (("k1", k1), ("k2", k2), ("k3", k3)):
        values = estimator(log_p[drawn], log_q[drawn])  # (samples,)
        found[name] = (values.mean().item(), values.std().item())
    return found


def lambda_ends(rewards: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Exercise 3: GAE's two ends for gamma = 1, (T,) each: lambda 0 is one step of look-ahead, lambda 1 is the whole
    rest of the rewards minus the value.
    """
    mask = torch.ones(1, len(rewards))  # (1, T)
    ends = [gae(rewards[None], values[None], mask, 1.0, lam)[0] for lam in (0.0, 1.0)]  # 2 of (T,)
    return ends[0], ends[1]


def bound_against_truth(log_q: Tensor, scores: Tensor, n: int) -> tuple[float, float]:
    """Exercise 4: KL of best-of-n by summing, and by log n - (n - 1) / n; (P, R), (P, R) -> two numbers in nats."""
    return exact.kl(exact.best_of_n(log_q, scores, n), log_q), best_of_n_bound(n)


def k1_as_a_loss(log_weights: Tensor, log_q: Tensor, samples: int = 200_000, seed: int = 0) -> dict[str, Tensor]:
    """Exercise 5: the gradient with respect to logits (R,) that comes from differentiating the sampled k1, k2 and k3,
    beside the true gradient of KL(p || q). k1's is zero on average: E_p[grad log p] = 0.
    """
    logits = log_weights.clone().requires_grad_()  # (R,)
    log_p = logits.log_softmax(0)  # (R,)
    truth = torch.autograd.grad((log_p.exp() * (log_p - log_q)).sum(), logits, retain_graph=True)[0]  # (R,)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(log_p.detach().exp(), samples, replacement=True, generator=generator)  # (samples,)
    gradients = {"true": truth}
    for name, estimator in (("k1", k1), ("k2", k2), ("k3", k3)):
        loss = estimator(log_p[drawn], log_q[drawn]).mean()
        gradients[name] = torch.autograd.grad(loss, logits, retain_graph=True)[0]  # (R,)
    return gradients
