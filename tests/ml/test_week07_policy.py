"""Week 7, policies: losses against finite differences, brute force, TRL, and rewards computed exactly."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch

from ml.week07_alignment import exact, exercises
from ml.week07_alignment.dpo import dpo, dpo_gradient, dpo_loss
from ml.week07_alignment.grpo import group_advantages, grpo, grpo_loss
from ml.week07_alignment.kl import AdaptiveKL, k1, k2, k3
from ml.week07_alignment.policy import new_decoder, pretrain, sample, token_log_probs
from ml.week07_alignment.ppo import PPOSettings, gae, policy_loss, ppo, token_rewards, value_loss, whiten
from ml.week07_alignment.preference import PreferenceModel
from ml.week07_alignment.reranking import Reranker, best_of_n_bound
from ml.week07_alignment.reward_model import ScalarDecoder, bradley_terry_loss, preference_pairs, train_reward_model
from ml.week07_alignment.toy import LENGTH, STOP, as_text, gold, pretraining_text, response_mask

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    model = new_decoder(layers=1)
    for _ in pretrain(model, 80, np.random.default_rng(0)):
        pass
    return model


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def responses_of(*texts):
    letters = "abcd."
    return torch.tensor([[letters.index(c) for c in text.ljust(LENGTH, ".")] for text in texts])


# ---- the task


def test_the_reward_by_hand():
    responses = responses_of("abaca", "aaaaa", "bbbbb", "aab", "")
    np.testing.assert_array_equal(gold(torch.zeros(5, dtype=torch.long), responses), [3, -3, 0, 0, 0])


def test_masks_end_with_the_first_stop():
    mask = response_mask(responses_of("abcda", "ab", ""))
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def test_enumeration_is_complete(reference):
    responses = exact.all_responses()
    assert len({tuple(row) for row in responses.tolist()}) == len(responses) == sum(4**k for k in range(6))
    np.testing.assert_allclose(exact.log_prob_table(reference).exp().sum(1), 1.0, atol=1e-5)


def test_samples_follow_the_table(reference, generator):
    prompts = torch.zeros(4_000, dtype=torch.long)
    drawn = sample(reference, prompts, generator)
    assert (response_mask(drawn)[:, :-1] * (drawn[:, 1:] != STOP) >= (drawn[:, 1:] != STOP).float()).all()
    mean = gold(prompts, drawn).mean().item()
    table = exact.log_prob_table(reference)[0].exp() @ exact.reward_table(gold)[0]
    assert mean == pytest.approx(table.item(), abs=0.08)


def test_texts_hardly_stutter():
    _, responses = pretraining_text(5000, np.random.default_rng(0))
    repeats = (responses[:, 1:] == responses[:, :-1]) & (responses[:, 1:] != STOP)
    assert 0.01 < repeats.float().sum() / (responses[:, 1:] != STOP).sum() < 0.06
    assert as_text(0, responses_of("ab")[0]) == "a: ab."


# ---- exact quantities


def test_gibbs_is_the_best_policy_at_its_price(reference):
    log_q, rewards = exact.log_prob_table(reference), exact.reward_table(gold)
    best = exact.gibbs(log_q, rewards, 0.4)

    def value(log_p):
        return exact.expected(log_p, rewards) - 0.4 * exact.kl(log_p, log_q)

    noise = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = torch.log_softmax(best + 0.1 * torch.randn(best.shape, generator=noise, dtype=best.dtype), 1)
        assert value(other) < value(best)
    # and its value is beta log Z, in closed form
    log_z = torch.logsumexp(log_q + rewards / 0.4, 1).mean() - torch.logsumexp(log_q, 1).mean()
    assert value(best) == pytest.approx(0.4 * log_z.item(), abs=1e-6)


def test_best_of_n_equals_counting_all_draws():
    """Three responses, n = 3: all 27 draws, ties shared by who came first."""
    log_q = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    for scores in ([1.0, 2.0, 3.0], [1.0, 2.0, 2.0]):
        counted = np.zeros(3)
        for draw in itertools.product(range(3), repeat=3):
            winner = max(draw, key=lambda i: scores[i])  # the first of equals
            counted[winner] += math.prod(log_q.exp()[0, list(draw)].tolist())
        found = exact.best_of_n(log_q, torch.tensor([scores], dtype=torch.float64), 3).exp()[0]
        np.testing.assert_allclose(found, counted, atol=1e-12)


def test_best_of_n_keeps_its_bound(reference):
    log_q = exact.log_prob_table(reference)
    distinct = torch.rand(log_q.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for n in (2, 8):
        true, bound = exercises.bound_against_truth(log_q, distinct, n)
        assert bound - 0.1 < true <= bound
        assert exercises.bound_against_truth(log_q, exact.reward_table(gold), n)[0] < true  # ties move less
    assert best_of_n_bound(1) == 0
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n_bound(0)


# ---- gradients of every loss, by finite differences through a whole (tiny) model


def check_gradients(loss, parameters, count=8, step=1e-5):
    """Central differences along ``count`` random directions of length 1; everything in float64."""
    gradients = torch.autograd.grad(loss(), parameters)
    noise = torch.Generator().manual_seed(1)
    for _ in range(count):
        directions = [torch.randn(p.shape, generator=noise, dtype=p.dtype) for p in parameters]
        length = sum((d**2).sum() for d in directions) ** 0.5
        directions = [d / length for d in directions]
        values = []
        for sign in (1, -2, 1):  # to +step, to -step, back
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter += sign * step * direction
                values.append(loss().item())
        expected = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
        assert expected == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-9)


class Tables(torch.nn.Module):
    """A policy of three tables, wholly in float64. (The decoder's norms and softmax stay in float32 by design, which
    drowns differences of 1e-5.)"""

    def __init__(self, generator):
        super().__init__()
        shapes = {"prompt": (4, 5), "last": (5, 5), "position": (LENGTH, 5)}
        tables = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
        self.tables = torch.nn.ParameterDict(tables)

    def forward(self, ids):
        table = self.tables
        return table["prompt"][ids[:, :1]] + table["last"][ids] + table["position"][: ids.shape[1]]


@pytest.fixture
def moved(generator):
    """A policy near a reference, with a batch of the reference's responses and their old log-probabilities."""
    ref = Tables(generator)
    policy = copy.deepcopy(ref)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    prompts = torch.randint(4, (16,), generator=generator)
    responses = sample(ref, prompts, generator)
    with torch.no_grad():
        old = token_log_probs(ref, prompts, responses)
    return policy, prompts, responses, old


def test_gradient_of_ppos_policy_loss(moved, generator):
    policy, prompts, responses, old = moved
    mask, advantages = response_mask(responses).double(), torch.randn(old.shape, generator=generator).double()
    ratio = torch.exp(token_log_probs(policy, prompts, responses) - old)
    assert ((ratio - 1).abs() > 0.2).any()  # the clip is at work
    assert ((ratio - 1).abs() < 0.2).any()
    check_gradients(
        lambda: policy_loss(token_log_probs(policy, prompts, responses), old, advantages, mask, 0.2),
        list(policy.parameters()),
    )


def test_gradient_of_grpos_loss(moved, generator):
    policy, prompts, responses, old = moved
    mask, advantages = response_mask(responses).double(), torch.randn(len(old), generator=generator).double()
    check_gradients(
        lambda: grpo_loss(token_log_probs(policy, prompts, responses), old, old, advantages, mask, 0.2, 0.1),
        list(policy.parameters()),
    )


def test_gradient_of_dpos_loss(moved, generator):
    policy, prompts, better, old = moved
    worse = torch.where(response_mask(better) > 0, (better + 1) % 4, STOP)
    ref_better, ref_worse = old.sum(1), old.sum(1) - 1.0

    def loss():
        sums = [token_log_probs(policy, prompts, side).sum(1) for side in (better, worse)]
        return dpo_loss(*sums, ref_better, ref_worse, 0.3)

    check_gradients(loss, list(policy.parameters()))


def test_gradients_of_value_and_reward_losses(reference, moved, generator):
    _, prompts, responses, old = moved
    value = ScalarDecoder(reference).double()
    torch.nn.init.normal_(value.head.weight, std=0.3, generator=generator)
    mask, returns = response_mask(responses).double(), torch.randn(old.shape, generator=generator).double()
    before = 0.5 * torch.randn(old.shape, generator=generator).double()
    parameters = list(value.head.parameters())
    check_gradients(
        lambda: value_loss(value.values(prompts, responses)[:, :-1], before, returns, mask, 0.2), parameters
    )
    worse = torch.where(response_mask(responses) > 0, (responses + 1) % 4, STOP)
    check_gradients(lambda: bradley_terry_loss(value(prompts, responses), value(prompts, worse)), parameters)


def test_dpos_gradient_by_hand_equals_autograd(generator):
    logs = [torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=i == 0) for i in range(4)]
    (found,) = torch.autograd.grad(dpo_loss(*logs, 0.3), logs[0])
    torch.testing.assert_close(dpo_gradient(*logs, 0.3).detach(), found)


# ---- PPO's parts


@pytest.mark.parametrize("seed", range(4))
def test_gae_equals_the_sum_in_its_definition(seed):
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    lengths, gamma, lam = rng.integers(1, 6, 3), rng.uniform(0.5, 1), rng.uniform(0, 1)
    mask = (np.arange(5) < lengths[:, None]).astype(float)
    found = gae(torch.tensor(rewards * mask), torch.tensor(values), torch.tensor(mask), gamma, lam)
    for i, length in enumerate(lengths):
        value = np.append(values[i, :length], 0.0)
        delta = rewards[i, :length] + gamma * value[1:] - value[:-1]
        brute = [sum((gamma * lam) ** k * delta[t + k] for k in range(length - t)) for t in range(length)]
        np.testing.assert_allclose(found[i, :length], brute, atol=1e-12)
        assert (found[i, length:] == 0).all()


def test_gaes_two_ends():
    rewards, values = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, 0.25, 1.0])
    short, long = exercises.lambda_ends(rewards, values)
    torch.testing.assert_close(short, torch.tensor([-0.25, 1.75, 1.0]))  # r_t + V_{t+1} - V_t
    torch.testing.assert_close(long, torch.tensor([2.5, 2.75, 1.0]))  # rest of the rewards - V_t


def test_the_clip_stops_gains_but_not_losses():
    old, mask = torch.zeros(1, 1), torch.ones(1, 1)
    for log_ratio, advantage, moves in ((0.5, 1.0, False), (-0.5, 1.0, True), (0.5, -1.0, True), (-0.5, -1.0, False)):
        new = torch.full((1, 1), log_ratio, requires_grad=True)
        loss = policy_loss(new, old, torch.full((1, 1), advantage), mask, 0.2)
        (gradient,) = torch.autograd.grad(loss, new)
        assert (gradient.item() != 0) == moves


def test_rewards_per_token_by_hand():
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    found = token_rewards(torch.tensor([5.0, 7.0]), torch.ones(2, 3), mask, 0.5)
    torch.testing.assert_close(found, torch.tensor([[-0.5, 4.5, 0.0], [-0.5, -0.5, 6.5]]))


def test_whitening_ignores_padding():
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    found = whiten(torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 5.0]]), mask)
    assert found[0, 2] == 0
    chosen = found[mask > 0]
    assert chosen.mean().item() == pytest.approx(0, abs=1e-6)
    assert chosen.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_group_advantages_are_standardised_within_groups():
    found = group_advantages(torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), 3)
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="groups of 4"):
        group_advantages(torch.zeros(6), 4)


# ---- KL


def test_estimators_of_the_kl(reference):
    log_q = exact.log_prob_table(reference)
    log_p = exact.gibbs(log_q, exact.reward_table(gold), 1.0)
    found = exercises.estimators(log_p[0], log_q[0])
    truth = found["exact"][0]
    assert found["k1"][0] == pytest.approx(truth, abs=0.03)
    assert found["k3"][0] == pytest.approx(truth, abs=0.03)
    assert found["k3"][1] < found["k1"][1]
    weights = log_p.exp()  # unbiasedness without sampling
    assert (weights * k1(log_p, log_q)).sum(1).mean().item() == pytest.approx(exact.kl(log_p, log_q))
    assert (weights * k3(log_p, log_q)).sum(1).mean().item() == pytest.approx(exact.kl(log_p, log_q), abs=1e-5)
    assert (k2(log_p, log_q) >= 0).all()
    assert (k3(log_p, log_q) >= 0).all()


def test_k1_is_no_loss_but_k2_is():
    noise = torch.Generator().manual_seed(0)
    logits, log_q = torch.randn(6, generator=noise), torch.randn(6, generator=noise).log_softmax(0)
    found = exercises.k1_as_a_loss(logits, log_q)
    assert found["true"].norm() > 0.1
    assert found["k1"].norm() < 0.05 * found["true"].norm()
    torch.testing.assert_close(found["k2"], found["true"], atol=0.02, rtol=0)
    assert (found["k3"] - found["true"]).norm() > 0.2 * found["true"].norm()  # it is the gradient of KL(q || p)


def test_the_controller_turns_the_price_the_right_way():
    controller = AdaptiveKL(target=2.0, beta=0.1, rate=0.5)
    assert controller.update(100.0) == pytest.approx(0.11)  # one step is clipped
    assert controller.update(2.0) == pytest.approx(0.11)
    assert controller.update(0.0) == pytest.approx(0.099)
    with pytest.raises(ValueError, match="above 0"):
        AdaptiveKL(target=0.0)


def test_the_prior_at_work():
    learned = exercises.prior_at_work()
    assert abs(learned[0]) < 0.06
    assert learned[-1] == pytest.approx(math.log(4), abs=0.2)


# ---- training, judged exactly


def measure(policy, reference):
    log_p, log_q = exact.log_prob_table(policy), exact.log_prob_table(reference)
    rewards = exact.reward_table(gold)
    return exact.expected(log_p, rewards), exact.kl(log_p, log_q), exact.best_at(log_q, rewards, exact.kl(log_p, log_q))


def test_ppo_raises_the_reward_at_the_kl_it_was_given(reference, generator):
    policy, start = copy.deepcopy(reference), measure(reference, reference)[0]
    for _ in ppo(
        policy, reference, ScalarDecoder(reference), gold, AdaptiveKL(1.0, 0.5), 20, generator, PPOSettings(batch=96)
    ):
        pass
    reward, distance, best = measure(policy, reference)
    assert start + 0.6 < reward <= best + 1e-6
    assert 0.4 < distance < 1.6


def test_grpo_raises_the_reward(reference, generator):
    policy, start = copy.deepcopy(reference), measure(reference, reference)[0]
    for _ in grpo(policy, reference, gold, 0.3, 25, generator):
        pass
    reward, distance, best = measure(policy, reference)
    assert start + 0.5 < reward <= best + 1e-6
    assert distance < 2.0


def test_dpo_raises_the_reward_and_a_higher_price_stays_nearer(reference, generator):
    pairs = preference_pairs(reference, 2000, generator)
    start, distances = measure(reference, reference)[0], []
    for beta in (0.1, 1.0):
        policy = copy.deepcopy(reference)
        for _ in dpo(policy, reference, pairs, beta, 40, generator, learning_rate=1e-3):
            pass
        reward, distance, best = measure(policy, reference)
        assert start + 0.3 < reward <= best + 1e-6
        distances.append(distance)
    assert distances[1] < distances[0] < 3.0


def test_the_reward_model_learns_from_pairs(reference, generator):
    pairs = preference_pairs(reference, 2000, generator)
    model = ScalarDecoder(reference)
    losses = list(train_reward_model(model, *pairs, 60, generator))
    assert losses[0] == pytest.approx(math.log(2))  # no opinion at first
    prompts, better, worse = preference_pairs(reference, 2000, generator)
    with torch.no_grad():
        assert (model(prompts, better) > model(prompts, worse)).float().mean() > 0.58


def test_ignoring_the_kl_over_optimises(reference):
    """The best policy for a reward that counts asked letters: the true reward rises, then falls below the start."""
    log_q, truth = exact.log_prob_table(reference), exact.reward_table(gold)
    proxy = exact.reward_table(lambda x, y: (y == x[:, None]).sum(1).float())
    found = [exact.expected(exact.gibbs(log_q, proxy, beta), truth) for beta in (100.0, 1.0, 0.05)]
    assert found[1] > found[0] > found[2]
    assert found[2] < -2.5


# ---- TRL


def test_losses_equal_trls():
    pytest.importorskip("trl")
    from ml.week07_alignment import with_trl as theirs

    theirs.quiet()
    torch.manual_seed(0)
    noise = torch.Generator().manual_seed(0)
    policy, reference = theirs.tiny_gpt2(), theirs.tiny_gpt2()
    _, better = pretraining_text(12, np.random.default_rng(0))
    prompts, worse = pretraining_text(12, np.random.default_rng(1))
    pairs, models = (prompts, better, worse), (theirs.Logits(policy), theirs.Logits(reference))
    logs = [token_log_probs(model, prompts, side).detach() for model in models for side in (better, worse)]
    for beta in (0.1, 1.0):
        ours = dpo_loss(*(log.sum(1) for log in logs), beta)
        torch.testing.assert_close(theirs.trl_dpo_loss(policy, reference, pairs, beta).detach(), ours)
    old, mask = logs[0] + 0.3 * torch.randn(logs[0].shape, generator=noise), response_mask(better)
    advantages = torch.randn(12, generator=noise)
    ours = grpo_loss(logs[0], old, logs[2], advantages, mask, 0.2, 0.05)
    trl = theirs.trl_grpo_loss(policy, prompts, better, old, logs[2], advantages, 0.2, 0.05)
    torch.testing.assert_close(trl.detach(), ours, rtol=1e-5, atol=1e-5)


def test_trls_trainer_really_trains_its_copy():
    pytest.importorskip("trl")
    from ml.week07_alignment import with_trl as theirs

    theirs.quiet()
    torch.manual_seed(0)
    model = theirs.tiny_gpt2()
    generator = torch.Generator().manual_seed(0)
    pairs = preference_pairs(theirs.Logits(model), 200, generator)
    trainer = theirs.dpo_trainer(model, model, pairs, 0.2, steps=3)
    trainer.train()
    trained, before = (exact.log_prob_table(theirs.Logits(net)) for net in (trainer.model, model))
    assert exact.kl(trained, before) > 1e-6
    assert "forward" not in vars(model)  # TRL's patch stays on its copy: else copies of ours would answer for it


# ---- re-ranking


def test_the_pipeline_orders_candidates():
    model = PreferenceModel(("length",), np.array([1.0]), np.array([0.1]), 1.0, 1.0)
    ranker = Reranker(model, lambda prompt, text: [float(len(text))])
    ranked = ranker.rank("q", ["bb", "a", "cccc", "dd"])
    assert [row.text for row in ranked] == ["cccc", "bb", "dd", "a"]
    assert [row.place for row in ranked] == [2, 0, 3, 1]
    assert sum(row.score for row in ranked) == pytest.approx(0)
    assert ranker.best("q", ["a", "bb"]) == "bb"
    with pytest.raises(ValueError, match="no candidates"):
        ranker.rank("q", [])
