"""Sums over every response: expected reward and KL without sampling, and the best that any method can do.

Idea. "Maximise E[r] - beta KL(pi || ref)" has a known answer, the Gibbs policy ``ref · exp(r / beta) / Z``: PPO, GRPO
and DPO are three roads to it. With all responses enumerated we can write it down, and for every beta it gives one point
of the frontier: no policy has more reward at that KL. Best-of-n needs no training at all, and its distribution is exact
too. So the picture of reward against KL has a ceiling, and a method's distance from it is the method's own.

Sources: Korbak et al., "RL with KL penalties is better viewed as Bayesian inference" (2022); Gao, Schulman & Hilton,
"Scaling Laws for Reward Model Overoptimization" (2022), which draws such curves by sampling; Beirami et al.,
"Theoretical guarantees on the best-of-n alignment policy" (2024) for the exact KL of best-of-n. Shapes: P prompts
(one a letter), R = 1,365 responses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ml.week07_alignment.policy import token_log_probs
from ml.week07_alignment.toy import LENGTH, LETTERS, STOP

Reward = Callable[[Tensor, Tensor], Tensor]  # prompts (B,), responses (B, T) -> (B,)


def all_responses() -> Tensor:
    """Every response there is, padded with stops: sum of 4^l for l = 0..5, (R, T)."""
    rows = [
        [*letters, *[STOP] * (LENGTH - length)]
        for length in range(LENGTH + 1)
        for letters in itertools.product(range(len(LETTERS)), repeat=length)
    ]
    return torch.tensor(rows)  # (R, T)


def _grid() -> tuple[Tensor, Tensor]:
    responses = all_responses()  # (R, T)
    prompts = torch.arange(len(LETTERS)).repeat_interleave(len(responses))  # (P * R,)
    return prompts, responses.repeat(len(LETTERS), 1)  # (P * R,), (P * R, T)


@torch.no_grad()
def log_prob_table(policy: nn.Module) -> Tensor:
    """log pi(y | x) for all prompts and responses, (P, R), in float64; each row's probabilities sum to 1."""
    prompts, responses = _grid()
    return token_log_probs(policy, prompts, responses).double().sum(1).view(len(LETTERS), -1)  # (P, R)


@torch.no_grad()
def reward_table(reward: Reward) -> Tensor:
    """r(x, y) for all prompts and responses, (P, R), in float64."""
    return reward(*_grid()).double().view(len(LETTERS), -1)  # (P, R)


def expected(log_p: Tensor, values: Tensor) -> float:
    """E[values] under the policy, averaged over prompts; both (P, R)."""
    return (log_p.exp() * values).sum(1).mean().item()


def kl(log_p: Tensor, log_q: Tensor) -> float:
    """KL(p || q) = sum_y p(y) (log p(y) - log q(y)) in nats a response, averaged over prompts; both (P, R)."""
    difference = torch.where(log_p > -torch.inf, log_p - log_q, 0.0)  # (P, R) 0 log 0 = 0
    return expected(log_p, difference)


def gibbs(log_q: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """The policy that maximises E[r] - beta KL: log pi* = log q + r / beta - log Z; (P, R) -> (P, R)."""
    return torch.log_softmax(log_q + rewards / beta, dim=1)  # (P, R) softmax divides by Z


def best_of_n(log_q: Tensor, scores: Tensor, n: int) -> Tensor:
    """log-probabilities of "draw n from q, keep the one with the best score"; (P, R) -> (P, R).

    The best has score s when all n lie at or below s, but not all strictly below: F(s)^n - F(s-)^n. Responses that tie
    at s share this in proportion to q.
    """
    rows = []
    for log_row, row in zip(log_q, scores, strict=True):
        _, group = torch.unique(row, return_inverse=True)  # (R,) 0 for the lowest score, and so on
        mass = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add(0, group, log_row.exp())  # (G,)
        at_most = (mass.cumsum(0) / mass.sum()).clamp(max=1.0)  # (G,) F(s)
        below = torch.cat([at_most.new_zeros(1), at_most[:-1]])  # (G,) F(s-)
        best = at_most**n - below**n  # (G,)
        rows.append(log_row + (best / mass).log()[group])  # (R,)
    return torch.stack(rows)  # (P, R)


def best_at(log_q: Tensor, rewards: Tensor, distance: float) -> float:
    """The most reward that any policy has at this KL: the Gibbs policy whose beta gives it, by bisection."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        beta = (low * high) ** 0.5
        low, high = (beta, high) if kl(gibbs(log_q, rewards, beta), log_q) > distance else (low, beta)
    return expected(gibbs(log_q, rewards, high), rewards)


def curve(log_q: Tensor, proxy: Tensor, judged: Tensor) -> np.ndarray:
    """(KL, reward by ``judged``) of the policies that are optimal for ``proxy``, from beta = 20 to 0.04: (40, 2)."""
    tables = [gibbs(log_q, proxy, beta) for beta in np.geomspace(20, 0.04, 40)]
    return np.array([(kl(table, log_q), expected(table, judged)) for table in tables])
