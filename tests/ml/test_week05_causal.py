"""Week 5: the causal objective against torch and Hugging Face; perplexity, bits per byte, distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from ml.week05_tokenization.bigram import Bigram
from ml.week05_tokenization.causal import (
    IGNORE,
    bits_per_byte,
    causal_loss,
    perplexity,
    text_nats,
    token_losses,
    windows,
)
from ml.week05_tokenization.exercises import better_model
from ml.week05_tokenization.measure import bytes_per_token, rank_frequency, share_used, tokens_per_word, zipf_slope


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_torchs_on_shifted_labels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (10 * torch.randn(3, 8, 11, generator=generator)).requires_grad_()
    labels = torch.randint(0, 11, (3, 8), generator=generator)
    labels[0, 4:] = IGNORE
    ours = causal_loss(logits, labels)
    (gradient,) = torch.autograd.grad(ours, logits)
    theirs = functional.cross_entropy(logits[:, :-1].reshape(-1, 11), labels[:, 1:].reshape(-1), ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, logits)[0])
    assert gradient[:, -1].abs().max() == 0  # the last position has no answer


def test_perplexity_is_that_of_hugging_faces_loss(llama: LlamaForCausalLM) -> None:
    ids = torch.randint(0, 97, (4, 20), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :6] = IGNORE  # a prompt
    labels[2, 15:] = IGNORE  # padding
    with torch.inference_mode():
        output = llama(input_ids=ids, labels=labels)
    assert perplexity(causal_loss(output.logits, labels).item()) == pytest.approx(
        math.exp(output.loss.item()), rel=1e-6
    )


def test_a_uniform_model_is_as_unsure_as_its_vocabulary_is_large() -> None:
    loss = causal_loss(torch.zeros(1, 5, 97), torch.zeros(1, 5, dtype=torch.long))
    assert perplexity(loss.item()) == pytest.approx(97, rel=1e-5)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[[1e4, 0.0], [0.0, 1e4]]])
    assert token_losses(logits, torch.tensor([[0, 0]])).item() == 0
    assert token_losses(logits, torch.tensor([[0, 1]])).item() == pytest.approx(1e4)


def test_windows_score_each_token_once(llama: LlamaForCausalLM) -> None:
    for length, context, stride in [(1, 8, 4), (2, 8, 4), (50, 8, 4), (50, 8, 7), (51, 8, 1), (8, 8, 4), (9, 8, 4)]:
        scored = [place for start, end, first in windows(length, context, stride) for place in range(first, end)]
        assert scored == list(range(1, length))
        for start, end, first in windows(length, context, stride):
            assert end - start <= context
            assert first - start >= (context - stride if start else 1)
    with pytest.raises(ValueError, match="stride lies between"):
        list(windows(5, 4, 4))


def test_a_text_that_fits_is_scored_as_one_row(llama: LlamaForCausalLM) -> None:
    ids = torch.randint(0, 97, (40,), generator=torch.Generator().manual_seed(2))

    def logits(row: torch.Tensor) -> torch.Tensor:
        return llama(input_ids=row).logits

    with torch.inference_mode():
        whole = llama(input_ids=ids[None], labels=ids[None]).loss.item() * 39
    assert text_nats(logits, ids, 64, 32) == pytest.approx(whole, rel=1e-5)
    # In windows a token sees less, so the sum is another one; but of the same tokens, each once.
    by_hand = 0.0
    with torch.inference_mode():
        for start, end, first in windows(40, 16, 8):
            log_p = logits(ids[None, start:end]).log_softmax(-1)[0]
            by_hand -= sum(log_p[place - start - 1, ids[place]].item() for place in range(first, end))
    assert text_nats(logits, ids, 16, 8) == pytest.approx(by_hand, rel=1e-5)


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        token_losses(torch.zeros(1, 4, 5), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="nothing to predict"):
        token_losses(torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="All labels are ignored"):
        causal_loss(torch.zeros(1, 4, 5), torch.full((1, 4), IGNORE))


def test_bits_per_byte_by_hand() -> None:
    """Eight tokens, each as unsure as among four: 16 bits, over 16 bytes."""
    assert bits_per_byte(8 * math.log(4), 16) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="without bytes"):
        bits_per_byte(1.0, 0)


def test_exercise_4_the_higher_perplexity_can_be_the_better_model() -> None:
    name, bits = better_model({"A": (20.0, 4.4), "B": (12.0, 3.0)})
    assert name == "A"
    assert bits == {"A": pytest.approx(0.982, abs=1e-3), "B": pytest.approx(1.195, abs=1e-3)}


def test_bigram_probabilities_sum_to_one_and_follow_the_counts() -> None:
    model = Bigram([[0, 1, 0, 1, 2], [1, 1]], size=4, imagined=0.5)
    for a in range(4):
        assert sum(model.probability(a, b) for b in range(4)) == pytest.approx(1.0)
    # n(0 1) = 2, n(0 as first) = 2, p(1) = (4 + 1) / (7 + 4)
    assert model.probability(0, 1) == pytest.approx((2 + 0.5 * 5 / 11) / 2.5)
    by_hand = -math.log(3 / 11) - math.log(model.probability(0, 1)) - math.log(model.probability(1, 2))
    assert model.nats([0, 1, 2]) == pytest.approx(by_hand)
    assert model.nats([]) == 0.0


def test_measures_by_hand() -> None:
    ranks, shares = rank_frequency([5, 5, 5, 7, 7, 9])
    assert ranks.tolist() == [1, 2, 3]
    np.testing.assert_allclose(shares, [3 / 6, 2 / 6, 1 / 6])
    zipf = [token for token in range(1, 200) for _ in range(round(100_000 / token))]
    assert zipf_slope(zipf, (1, 150)) == pytest.approx(-1.0, abs=0.01)
    assert tokens_per_word("ab cd e", lambda text: list(text.encode())) == pytest.approx(7 / 3)
    assert bytes_per_token("é a", lambda text: [1, 2]) == 2.0
    assert share_used([1, 1, 2], 8) == 0.25
    for function in (tokens_per_word, bytes_per_token):
        with pytest.raises(ValueError, match="without"):
            function("", lambda text: [])
    with pytest.raises(ValueError, match="three different"):
        zipf_slope([1, 1, 2])
