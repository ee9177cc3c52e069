"""Parts 1 to 3 of the experiment, on the toy task: policies, over-optimisation, and TRL beside ours."""

from __future__ import annotations

import copy

import numpy as np
import torch
from matplotlib import pyplot
from torch import Tensor, nn

from ml.lesson import Run
from ml.week07_alignment import exact
from ml.week07_alignment.dpo import dpo, dpo_loss
from ml.week07_alignment.grpo import grpo, grpo_loss
from ml.week07_alignment.kl import AdaptiveKL
from ml.week07_alignment.policy import pretrain, token_log_probs
from ml.week07_alignment.ppo import ppo
from ml.week07_alignment.preference import PreferenceModel, fit
from ml.week07_alignment.reward_model import Pairs, ScalarDecoder, preference_pairs, train_reward_model
from ml.week07_alignment.toy import as_text, gold, response_mask, word_features

TARGET = 2.0  # nats a response, for PPO's controller
METHODS = ("PPO", "GRPO", "DPO")


def policies(run: Run, reference: nn.Module, pairs: Pairs, generator: torch.Generator) -> None:
    """PPO, GRPO and DPO against the exact frontier."""
    log_q, rewards = exact.log_prob_table(reference), exact.reward_table(gold)  # (P, R) each
    start = exact.expected(log_q, rewards)
    rows = [("reference", 0.0, start, start)]
    paths = {}
    for name in METHODS:
        policy = copy.deepcopy(reference)
        steps, stride = {"PPO": (80, 5), "GRPO": (60, 5), "DPO": (300, 25)}[name]
        steps = steps // 8 if run.quick else steps
        points = [(0.0, start)]
        training = {
            "PPO": ppo(policy, reference, ScalarDecoder(reference), gold, AdaptiveKL(TARGET, 0.3), steps, generator),
            "GRPO": grpo(policy, reference, gold, 0.2, steps, generator),
            "DPO": dpo(policy, reference, pairs, 0.2, steps, generator, learning_rate=1e-3),
        }[name]
        for step, _ in enumerate(run.track(training, name, total=steps), 1):
            if step % stride == 0:
                log_p = exact.log_prob_table(policy)
                points.append((exact.kl(log_p, log_q), exact.expected(log_p, rewards)))
        paths[name] = points
        rows.append((name, *points[-1], exact.best_at(log_q, rewards, points[-1][0])))
        run.record(f"{name}: reward", round(points[-1][1], 3))
        run.record(f"{name}: KL, nats", round(points[-1][0], 3))
    for n in (4, 16, 64):
        log_p = exact.best_of_n(log_q, rewards, n)
        distance = exact.kl(log_p, log_q)
        rows.append((f"best of {n}", distance, exact.expected(log_p, rewards), exact.best_at(log_q, rewards, distance)))
    run.table("Toy task, exact over 1,365 responses", ["method", "KL, nats", "reward", "best at that KL"], rows)
    run.save(draw_policies(log_q, rewards, paths), "policies")


def draw_policies(log_q: Tensor, rewards: Tensor, paths: dict[str, list[tuple[float, float]]]) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    frontier = exact.curve(log_q, rewards, rewards)
    axes.plot(*frontier.T, color="black", linestyle="-", label="best possible (Gibbs)")
    chosen = [exact.best_of_n(log_q, rewards, n) for n in (1, 2, 4, 8, 16, 32, 64, 128)]
    points = np.array([(exact.kl(table, log_q), exact.expected(table, rewards)) for table in chosen])
    axes.plot(*points.T, "x", color="black", label="best of n = 1, 2, 4, … 128")
    for (name, path), marker in zip(paths.items(), "os^", strict=True):
        axes.plot(*np.array(path).T, marker=marker, markersize=4, label=f"{name} while it trains")
    axes.set(xlabel="KL to the reference (nats a response)", ylabel="expected reward", xlim=(-0.1, None))
    axes.set_title("Every method buys reward with KL; none can pass the Gibbs policy")
    axes.legend(loc="lower right")
    return figure


def over_optimisation(run: Run, reference: nn.Module, pairs: Pairs, generator: torch.Generator) -> None:
    """The best policies for a fitted reward model, judged by the true reward; and PPO on the same road."""
    log_q, truth = exact.log_prob_table(reference), exact.reward_table(gold)  # (P, R) each
    model, steps = ScalarDecoder(reference), 50 if run.quick else 300
    for _ in run.track(train_reward_model(model, *pairs, steps, generator), "reward model", total=steps):
        pass
    features = word_features(pairs[0], pairs[1]), word_features(pairs[0], pairs[2])  # (N, 2) each
    linear = fit(*(x.numpy() for x in features), names=["asked letters", "letters"])
    proxies = {
        "decoder, 4,000 pairs": exact.reward_table(model),
        "two features, 4,000 pairs": exact.reward_table(
            lambda x, y: torch.from_numpy(linear.score(word_features(x, y).numpy()))
        ),
    }
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    axes.plot(*exact.curve(log_q, truth, truth).T, color="black", linestyle="-", label="true reward itself")
    for name, proxy in proxies.items():
        line = exact.curve(log_q, proxy, truth)
        axes.plot(*line.T, label=f"reward model: {name}")
        peak = line[line[:, 1].argmax()]
        run.record(f"{name}: true reward at its peak", round(peak[1], 3))
        run.record(f"{name}: KL at the peak", round(peak[0], 3))
        run.record(f"{name}: true reward at the end", round(line[-1, 1], 3))
    path, favourite = chase(run, reference, linear, generator)
    axes.plot(*np.array(path).T, "o-", color="#009E73", markersize=4, label="PPO against two features, KL nearly free")
    run.record("what PPO says in the end", favourite)
    axes.set(xlabel="KL to the reference (nats a response)", ylabel="expected true reward", ylim=(-3.2, 3.2))
    axes.set(xlim=(-0.2, 9))
    axes.set_title("Trusting a reward model: more, then less, of what was wanted")
    axes.legend(loc="lower left")
    run.save(figure, "over-optimisation")


def chase(
    run: Run, reference: nn.Module, linear: PreferenceModel, generator: torch.Generator
) -> tuple[list[tuple[float, float]], str]:
    """PPO against the linear reward model with next to no KL price; its path, and its favourite response to "a"."""
    log_q, truth = exact.log_prob_table(reference), exact.reward_table(gold)  # (P, R) each
    policy, steps = copy.deepcopy(reference), 16 if run.quick else 60

    def reward(prompts: Tensor, responses: Tensor) -> Tensor:
        return torch.from_numpy(linear.score(word_features(prompts, responses).numpy())).float()  # (B,)

    free = AdaptiveKL(target=100.0, beta=0.01)
    path = [(0.0, exact.expected(log_q, truth))]
    training = ppo(policy, reference, ScalarDecoder(reference), reward, free, steps, generator)
    for _ in run.track(training, "PPO, nearly free", total=steps):
        log_p = exact.log_prob_table(policy)
        path.append((exact.kl(log_p, log_q), exact.expected(log_p, truth)))
    return path, as_text(0, exact.all_responses()[log_p[0].argmax()])


def same_losses(run: Run, generator: torch.Generator) -> None:
    """Our losses and TRL's on one batch; in the full run also both DPO trainers from one reference."""
    try:
        from ml.week07_alignment import with_trl as theirs

        theirs.quiet()
    except ImportError as error:
        run.say(f"TRL is not installed ({error}): its part is skipped.")
        return
    reference = theirs.tiny_gpt2()
    steps = 20 if run.quick else 300
    for _ in run.track(pretrain(theirs.Logits(reference), steps, np.random.default_rng(run.seed)), "tiny GPT-2", steps):
        pass
    policy = copy.deepcopy(reference)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    pi, ref = theirs.Logits(policy), theirs.Logits(reference)
    pairs = preference_pairs(ref, 4000, generator)
    batch = tuple(part[:64] for part in pairs)  # (B,), (B, T), (B, T)
    with torch.no_grad():
        logs = [token_log_probs(model, batch[0], side) for model in (pi, ref) for side in batch[1:]]  # 4 of (B, T)
        sums = [log.sum(1) for log in logs]  # 4 of (B,)
        dpos = dpo_loss(*sums, beta=0.3).item(), theirs.trl_dpo_loss(policy, reference, batch, 0.3).item()
        advantages = torch.randn(64, generator=generator)  # (B,)
        ours = grpo_loss(logs[0], logs[2], logs[2], advantages, response_mask(batch[1]), 0.2, 0.1)
        trl = theirs.trl_grpo_loss(policy, batch[0], batch[1], logs[2], logs[2], advantages, 0.2, 0.1)
    rows = [("DPO", *dpos, abs(dpos[0] - dpos[1])), ("GRPO", ours.item(), trl.item(), abs((ours - trl).item()))]
    run.table("Losses on one batch of 64", ["loss", "ours", "TRL", "difference"], rows)
    run.record("largest difference to a TRL loss", float(f"{max(row[-1] for row in rows):.1e}"))
    if not run.quick:
        same_road(run, reference, pairs, generator)


def same_road(run: Run, reference: nn.Module, pairs: Pairs, generator: torch.Generator) -> None:
    """300 steps of DPO from the same weights and pairs, by our loop and by TRL's trainer."""
    from ml.week07_alignment import with_trl as theirs

    mine = copy.deepcopy(reference)
    for _ in dpo(theirs.Logits(mine), theirs.Logits(reference), pairs, 0.2, 300, generator, learning_rate=1e-3):
        pass
    trainer = theirs.dpo_trainer(reference, reference, pairs, 0.2, steps=300)
    trainer.train()
    log_q, rewards = exact.log_prob_table(theirs.Logits(reference)), exact.reward_table(gold)  # (P, R) each
    rows = []
    for name, model in (("reference", reference), ("our DPO", mine), ("TRL's DPOTrainer", trainer.model)):
        log_p = exact.log_prob_table(theirs.Logits(model.eval()))
        rows.append((name, exact.kl(log_p, log_q), exact.expected(log_p, rewards)))
        run.record(f"tiny GPT-2, {name}: reward", round(rows[-1][2], 3))
    run.table("DPO on a tiny GPT-2, 300 steps", ["trainer", "KL, nats", "reward"], rows)
