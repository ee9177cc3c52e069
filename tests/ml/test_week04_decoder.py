"""Week 4, the whole decoder: parity with Hugging Face, the cache, the mask, sampling and beam search."""

import itertools
import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.decoder import Decoder, DecoderConfig, count_parameters
from ml.week04_transformers.pretrained import copy_gpt2, copy_llama
from ml.week04_transformers.sampling import beam_search, distribution, generate

CONFIGS = {
    "llama": DecoderConfig(50, 32, 24, 3, 4, kv_heads=2),
    "gpt2": DecoderConfig(50, 32, 24, 3, 4, positions="learned", norm="layer", feed_forward="gelu", bias=True),
    "sinusoidal": DecoderConfig(50, 32, 24, 3, 4, positions="sinusoidal", tied=False),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


@pytest.fixture(params=CONFIGS)
def model(request):
    return restless(Decoder(CONFIGS[request.param]))


def restless(model):
    """Weights far from their small start, so that a mistake anywhere shows in the logits."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def close(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def hf_gpt2(**changes):
    ends = {"bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(GPT2Config(vocab_size=90, n_positions=40, n_embd=32, n_layer=3, n_head=4, **ends, **changes))


def hf_llama(**changes):
    options = {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}} | changes
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=90,
            hidden_size=32,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=40,
            rms_norm_eps=1e-6,
            **options,
        )
    )


@pytest.mark.parametrize("changes", [{}, {"n_inner": 48}, {"tie_word_embeddings": False}])
def test_logits_equal_hugging_face_gpt2(changes):
    theirs = restless(hf_gpt2(**changes))
    ids = torch.randint(0, 90, (3, 17))
    with torch.no_grad():
        close(copy_gpt2(theirs)(ids) / 100, theirs(ids).logits / 100)  # logits of size 100: 1e-5 of that


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 4}, {"tie_word_embeddings": True}])
def test_logits_equal_hugging_face_llama(changes):
    theirs = restless(hf_llama(**changes))
    ids = torch.randint(0, 90, (3, 17))
    with torch.no_grad():
        close(copy_llama(theirs)(ids) / 100, theirs(ids).logits / 100)


@pytest.mark.parametrize(("theirs", "copy"), [(hf_gpt2, copy_gpt2), (hf_llama, copy_llama)])
def test_every_block_equals_hugging_face(theirs, copy):
    """With weights as they start, hidden states and logits have size 1: here 1e-5 is absolute, layer by layer."""
    theirs = theirs().eval()
    ours = copy(theirs)
    ids = torch.randint(0, 90, (2, 15))
    states = []
    for block in ours.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        logits = ours(ids)
        expected = theirs(ids, output_hidden_states=True)
    close(logits, expected.logits)
    for state, other in zip(states[:-1], expected.hidden_states[1:-1], strict=True):
        close(state, other)
    close(ours.norm(states[-1]), expected.hidden_states[-1])


def test_copies_are_copies():
    theirs = hf_llama()
    ours = copy_llama(theirs)
    before = ours.embedding.weight.clone()
    torch.nn.init.zeros_(theirs.model.embed_tokens.weight)
    close(ours.embedding.weight, before)


def test_models_with_other_choices_are_refused():
    with pytest.raises(ValueError, match="without biases"):
        copy_llama(hf_llama(attention_bias=True))
    with pytest.raises(ValueError, match="width / heads"):
        copy_llama(hf_llama(head_dim=16))
    with pytest.raises(ValueError, match="tanh GELU"):
        copy_gpt2(hf_gpt2(activation_function="relu"))


def test_left_padded_batch_equals_hugging_face_and_single_texts():
    theirs = restless(hf_llama())
    ours = copy_llama(theirs)
    short, long = torch.randint(0, 90, (1, 4)), torch.randint(0, 90, (1, 9))
    ids = torch.cat((torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1), long))
    real = torch.tensor([[0] * 5 + [1] * 4, [1] * 9])
    positions = (real.cumsum(1) - 1).clamp(min=0)
    mask = torch.ones(9, 9, dtype=torch.bool).tril() & real[:, None].bool()
    with torch.no_grad():
        logits = ours(ids, positions=positions, mask=mask)
        expected = theirs(ids, attention_mask=real, position_ids=positions).logits
        close(logits[0, 5:] / 100, ours(short)[0] / 100)
    close(logits[0, 5:] / 100, expected[0, 5:] / 100)
    close(logits[1] / 100, expected[1] / 100)


def test_no_position_sees_the_future(model):
    ids = torch.randint(0, 50, (2, 12))
    with torch.no_grad():
        before = model(ids)
        for place in (1, 6, 11):
            changed = ids.clone()
            changed[:, place] = (changed[:, place] + 1) % 50
            after = model(changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert (after[:, place:] != before[:, place:]).any()


def test_gradient_of_a_position_reaches_only_the_past(model):
    ids = torch.randint(0, 50, (1, 9))
    vectors = model.embedding(ids).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda *_: vectors)
    model(ids)[0, 4].square().sum().backward()
    reached = vectors.grad[0].abs().sum(-1) > 0
    assert reached.tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 6], [11, 1]])
def test_cached_equals_uncached(model, pieces):
    ids = torch.randint(0, 50, (2, 12))
    cache = KVCache(3)
    with torch.no_grad():
        logits = torch.cat([model(piece, cache) for piece in ids.split(pieces, dim=1)], dim=1)
        close(logits, model(ids), atol=1e-4)  # of size 30
    assert cache.length == 12


def test_cache_forgets_and_forks(model):
    ids = torch.randint(0, 50, (2, 10))
    cache = KVCache(3)
    with torch.no_grad():
        model(ids, cache)
        cache.truncate(6)
        assert cache.length == 6
        close(model(ids[:, 6:], cache), model(ids)[:, 6:], atol=1e-4)
        cache.truncate(6)
        cache.select(torch.tensor([1, 1, 0]))
        rows = ids[[1, 1, 0]]
        close(model(rows[:, 6:], cache), model(rows)[:, 6:], atol=1e-4)
    with pytest.raises(ValueError, match="cannot be cut"):
        cache.truncate(11)


def test_cache_grows_with_the_last_layer():
    cache = KVCache(2)
    cache.append(0, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    assert cache.length == 0  # the second layer still has to find its positions where the first one did
    cache.append(1, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    assert cache.length == 3


def test_cache_size_is_the_formula():
    cache = KVCache(3)
    Decoder(CONFIGS["llama"])(torch.zeros(5, 7, dtype=torch.long), cache)
    assert cache.size == 2 * 3 * 5 * 2 * 7 * 6 * 4  # two tensors, layers, texts, key heads, positions, width, bytes


def test_parameters_by_hand():
    # GPT-2 small: 124,439,808, as published
    with torch.device("meta"):
        gpt2 = Decoder(DecoderConfig(50257, 1024, 768, 12, 12, None, 3072, "learned", "layer", "gelu", bias=True))
    assert count_parameters(gpt2) == 124_439_808


def test_config_refuses_nonsense():
    with pytest.raises(ValueError, match="positions must be one of"):
        DecoderConfig(10, 8, 8, 1, 2, positions="none")
    with pytest.raises(ValueError, match="cannot share a width"):
        DecoderConfig(10, 8, 12, 1, 4)  # heads of width 3 have no pairs to rotate
    with pytest.raises(ValueError, match="do not fit a context"):
        Decoder(DecoderConfig(10, 8, 8, 1, 2))(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 12, "top_p": 0.5}])
def test_distribution_equals_hugging_face(options):
    for _ in range(20):
        logits = torch.randn(4, 30) * 3
        theirs = TemperatureLogitsWarper(options.get("temperature", 1.0))(None, logits)
        if "top_k" in options:
            theirs = TopKLogitsWarper(options["top_k"])(None, theirs)
        if "top_p" in options:
            theirs = TopPLogitsWarper(options["top_p"])(None, theirs)
        close(distribution(logits, **options), theirs.softmax(-1))


def test_top_p_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    close(distribution(logits, top_p=0.8), torch.tensor([[0.625, 0.375, 0, 0]]))
    close(distribution(logits, top_p=0.81), torch.tensor([[0.5, 0.3, 0.15, 0]]) / 0.95)
    close(distribution(logits, top_p=0.01), torch.tensor([[1.0, 0, 0, 0]]))  # at least one is always left


def test_bad_settings_are_refused(model):
    for options in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match="must"):
            distribution(torch.zeros(1, 5), **options)
    with pytest.raises(ValueError, match="do not fit a context"):
        generate(model, torch.zeros(1, 30, dtype=torch.long), 3)
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, torch.zeros(1, 0, dtype=torch.long), 3)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.7}])
def test_samples_follow_the_distribution(options):
    """Pearson's χ² over 4,000 first tokens; a right sampler exceeds the bound once in ten thousand seeds."""
    model = Decoder(DecoderConfig(12, 8, 16, 1, 2))
    torch.nn.init.normal_(model.embedding.weight, std=0.25)
    prompt = torch.tensor([[3, 1]]).expand(4000, 2)
    drawn = generate(model, prompt, 1, generator=torch.Generator().manual_seed(0), **options)[:, -1]
    with torch.no_grad():
        expected = 4000 * distribution(model(prompt[:1])[:, -1], **options)[0]
    counts = torch.bincount(drawn, minlength=12)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    statistic = ((counts - expected)[possible].square() / expected[possible]).sum().item()
    freedom = int(possible.sum()) - 1
    # Wilson & Hilferty: (χ²/f)^(1/3) is about normal with mean 1 - 2/9f and variance 2/9f; 3.72 sigmas are 1e-4
    bound = freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < bound
    uniform = torch.full((int(possible.sum()),), 4000 / int(possible.sum()))
    assert ((counts[possible] - uniform).square() / uniform).sum() > bound  # the test can tell distributions apart


def test_generation_with_and_without_cache_is_the_same(model):
    prompt = torch.randint(0, 50, (3, 4))
    for temperature in (0.0, 0.9):
        runs = [
            generate(model, prompt, 20, temperature, generator=torch.Generator().manual_seed(3), cached=cached)
            for cached in (True, False)
        ]
        assert torch.equal(*runs)


def test_greedy_equals_hugging_face():
    theirs = restless(hf_gpt2())
    prompt = torch.randint(0, 90, (2, 5))
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    assert torch.equal(generate(copy_gpt2(theirs), prompt, 20, temperature=0), expected)


def test_rows_stop_on_their_own(model):
    prompt = torch.randint(0, 50, (4, 3))
    free = generate(model, prompt, 20, temperature=0)
    stop = free[0, 5].item()
    stopped = generate(model, prompt, 20, temperature=0, stop=stop)
    for row, full in zip(stopped.tolist(), free.tolist(), strict=True):
        end = next((i for i in range(3, len(full)) if full[i] == stop), len(full) - 1)
        assert row[: end + 1] == full[: end + 1]
        assert set(row[end + 1 :]) <= {stop}


def exhaustive(model, prompt, tokens, stop=None, length_penalty=0.0):
    """Every continuation with its score, best first: what beam search approximates."""
    vocabulary = model.config.vocabulary
    scored = {}
    for tail in itertools.product(range(vocabulary), repeat=tokens):
        if stop in tail:
            tail = tail[: tail.index(stop) + 1]
        ids = torch.cat((prompt, torch.tensor([tail])), dim=1)
        with torch.no_grad():
            log_p = model(ids)[0].log_softmax(-1)
        total = sum(log_p[prompt.shape[1] - 1 + i, token].item() for i, token in enumerate(tail))
        scored[tail] = total / len(tail) ** length_penalty
    return sorted(scored.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize(("stop", "length_penalty"), [(None, 0.0), (2, 0.0), (2, 1.0)])
def test_wide_beams_find_what_exhaustive_search_finds(stop, length_penalty):
    model = restless(Decoder(DecoderConfig(5, 8, 8, 1, 2)))
    prompt = torch.tensor([[1, 4]])
    best = exhaustive(model, prompt, 4, stop, length_penalty)
    found = beam_search(model, prompt, 4, beams=125, stop=stop, length_penalty=length_penalty)
    for (ids, score), (tail, expected) in zip(found[:20], best[:20], strict=True):
        assert ids[2:].tolist() == list(tail)
        assert score == pytest.approx(expected, abs=1e-4)


def test_one_beam_is_greedy_and_more_beams_are_no_worse_here():
    model = restless(Decoder(DecoderConfig(9, 16, 16, 2, 2)))
    prompt = torch.tensor([[3, 5]])
    one = beam_search(model, prompt, 6, beams=1)[0]
    assert torch.equal(one[0], generate(model, prompt, 6, temperature=0)[0])
    assert beam_search(model, prompt, 6, beams=50)[0][1] >= one[1]


@pytest.mark.parametrize("stop", [None, 7])
def test_beam_search_equals_hugging_face(stop):
    for trial in range(6):
        torch.manual_seed(trial)
        theirs = hf_gpt2()
        torch.nn.init.normal_(theirs.transformer.wte.weight, std=0.25)
        theirs.eval()
        prompt = torch.randint(0, 90, (1, 5))
        if stop is not None:  # a token that is likely, so that beams end at different steps
            stop = theirs(prompt).logits[0, -1].topk(2).indices[1].item()
        expected = theirs.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=6,
            num_beams=4,
            num_return_sequences=4,
            do_sample=False,
            length_penalty=0.0,
            early_stopping="never",
            eos_token_id=stop,
            pad_token_id=0,
        )
        found = beam_search(copy_gpt2(theirs), prompt, 6, beams=4, stop=stop)
        for (ids, _), row in zip(found, expected, strict=True):
            assert ids.tolist() == row[: len(ids)].tolist()
            assert set(row[len(ids) :].tolist()) <= {0, stop}  # what theirs fills up with


def test_beam_search_refuses_nonsense(model):
    with pytest.raises(ValueError, match="shape"):
        beam_search(model, torch.zeros(2, 3, dtype=torch.long), 3)
