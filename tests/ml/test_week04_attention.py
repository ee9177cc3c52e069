"""Week 4, the parts: attention, masks, heads, positions and norms, against torch, Hugging Face and worked examples."""

import math

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from ml.week04_transformers.attention import attention, causal_mask, padding_mask
from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.heads import MultiHeadAttention, attention_maps
from ml.week04_transformers.layers import LayerNorm, RMSNorm, SwigluFeedForward, gelu
from ml.week04_transformers.positions import rotate, rotation, sinusoidal


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(4)


def close(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def test_attention_by_hand():
    query = torch.tensor([[2.0, 0, 0, 0]])
    key = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    value = torch.tensor([[1.0], [0.0]])
    # scores 2/√4 = 1 and 0; softmax e/(e + 1)
    result, weights = attention(query, key, value)
    close(weights, torch.tensor([[math.e / (math.e + 1), 1 / (math.e + 1)]]))
    close(result, torch.tensor([[math.e / (math.e + 1)]]))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_torch(masked):
    for trial in range(5):
        query, key, value = torch.randn(2, 3, 4 + trial, 8), torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9, 8)
        mask = (torch.rand(2, 1, 4 + trial, 9) < 0.6) | (torch.arange(9) == trial) if masked else None
        theirs = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        close(attention(query, key, value, mask)[0], theirs)


def test_weights_sum_to_one_and_avoid_what_is_masked():
    mask = causal_mask(5, 5)
    _, weights = attention(torch.randn(3, 5, 4), torch.randn(3, 5, 4), torch.randn(3, 5, 4), mask)
    close(weights.sum(-1), torch.ones(3, 5))
    assert (weights[:, ~mask] == 0).all()


def test_row_that_may_look_nowhere_does_not_become_nan():
    mask = torch.zeros(2, 3, dtype=torch.bool)
    result, weights = attention(torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 4), mask)
    assert result.isfinite().all()
    close(weights, torch.full((2, 3), 1 / 3))


def test_attention_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="dot product"):
        attention(torch.randn(2, 4), torch.randn(3, 5), torch.randn(3, 5))
    with pytest.raises(ValueError, match="must be bool"):
        attention(torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 4), torch.ones(2, 3))


def test_masks_by_hand():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]
    assert padding_mask(torch.tensor([1, 3]), 3).tolist() == [[[True, False, False]], [[True, True, True]]]
    with pytest.raises(ValueError, match="cannot be the last"):
        causal_mask(3, 2)


def as_torch(ours: MultiHeadAttention, width: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(width, ours.heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key.weight, ours.value.weight)))
        theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key.bias, ours.value.bias)))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("cross", [False, True])
def test_multi_head_attention_equals_torch(heads, cross):
    ours = MultiHeadAttention(32, heads, bias=True)
    theirs = as_torch(ours, 32)
    x = torch.randn(2, 7, 32)
    source = torch.randn(2, 9, 32) if cross else x
    lengths = torch.tensor([5, source.shape[1]])
    padding = padding_mask(lengths, source.shape[1])
    mask = padding[:, None] if cross else padding[:, None] & causal_mask(7, 7)
    block = None if cross else ~causal_mask(7, 7)
    watch = ours.watch = []
    result = ours(x, source if cross else None, mask)
    expected, weights = theirs(
        x, source, source, key_padding_mask=~padding[:, 0], attn_mask=block, average_attn_weights=False
    )
    close(result, expected)
    close(watch[0], weights)


def test_gradients_equal_torch():
    ours = MultiHeadAttention(16, 2, bias=True)
    theirs = as_torch(ours, 16)
    x = torch.randn(2, 5, 16)
    ours(x, mask=causal_mask(5, 5)).square().sum().backward()
    theirs(x, x, x, attn_mask=~causal_mask(5, 5))[0].square().sum().backward()
    packed = torch.cat((ours.query.weight.grad, ours.key.weight.grad, ours.value.weight.grad))
    close(packed, theirs.in_proj_weight.grad, atol=1e-4)
    close(ours.output.weight.grad, theirs.out_proj.weight.grad, atol=1e-4)


def test_grouped_queries_are_heads_with_shared_keys():
    grouped = MultiHeadAttention(24, 6, kv_heads=2, bias=True)
    full = MultiHeadAttention(24, 6, bias=True)
    full.query.load_state_dict(grouped.query.state_dict())
    full.output.load_state_dict(grouped.output.state_dict())
    for part in ("key", "value"):  # each key head written three times over
        for name in ("weight", "bias"):
            rows = getattr(getattr(grouped, part), name).data.unflatten(0, (2, 4)).repeat_interleave(3, dim=0)
            getattr(getattr(full, part), name).data.copy_(rows.flatten(0, 1))
    x = torch.randn(2, 5, 24)
    close(grouped(x, mask=causal_mask(5, 5)), full(x, mask=causal_mask(5, 5)))
    cache = KVCache(1)
    grouped(x, cache=cache)
    assert cache.keys[0].shape == (2, 2, 5, 4)  # a third of the memory


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="do not divide"):
        MultiHeadAttention(10, 3)
    with pytest.raises(ValueError, match="do not divide"):
        MultiHeadAttention(12, 4, kv_heads=3)


def test_attention_maps_are_collected_once():
    model = nn.Sequential(MultiHeadAttention(8, 2), MultiHeadAttention(8, 4))
    maps = attention_maps(model, torch.randn(3, 5, 8))
    assert [tuple(layer.shape) for layer in maps] == [(3, 2, 5, 5), (3, 4, 5, 5)]
    model(torch.randn(1, 2, 8))
    assert len(maps) == 2  # nobody watches any more


def test_sinusoidal_by_hand():
    waves = sinusoidal(torch.tensor([[0, 3]]), 4)
    close(waves[0, 0], torch.tensor([0.0, 1, 0, 1]))
    close(waves[0, 1], torch.tensor([math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]))
    # a shift by 5 is the same linear map everywhere: the dot product depends on the distance alone
    waves = sinusoidal(torch.arange(40)[None], 32)[0]
    products = waves @ waves.T
    close(products[3, 8], products[30, 35], atol=1e-4)
    with pytest.raises(ValueError, match="even width"):
        sinusoidal(torch.tensor([[1]]), 5)


def test_rotary_equals_hugging_face():
    config = LlamaConfig(hidden_size=48, num_attention_heads=4, num_key_value_heads=2, rope_theta=5000.0)
    config.rope_parameters["rope_theta"] = 5000.0
    query, key = torch.randn(2, 4, 11, 12), torch.randn(2, 2, 11, 12)
    positions = torch.randint(0, 3000, (2, 11))
    theirs = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(config)(query, positions))
    angles = rotation(positions, 12, base=5000.0)
    close(rotate(query, *angles), theirs[0])
    close(rotate(key, *angles), theirs[1])


def test_rotary_is_a_rotation_by_hand():
    turned = rotate(torch.tensor([[[[1.0, 0.0]]]]), *rotation(torch.tensor([[2]]), 2))
    close(turned, torch.tensor([[[[math.cos(2), math.sin(2)]]]]))  # the first frequency is 1 radian a position


def test_rotary_products_depend_on_the_distance_alone_and_lengths_stay():
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def at(x, position):
        return rotate(x, *rotation(torch.tensor([[position]]), 16))

    def product(i, j):
        return (at(query, i) * at(key, j)).sum()

    for i, j, shift in [(0, 0, 9), (5, 2, 100), (7, 90, 1000)]:
        close(product(i, j), product(i + shift, j + shift), atol=2e-4)
    assert abs(product(5, 2) - product(2, 5)) > 1e-3  # and on its sign
    close(at(query, 123).norm(), query.norm())


def test_norms_equal_the_libraries():
    x = torch.randn(3, 5, 20) * 7 + 2
    ours, theirs = LayerNorm(20), nn.LayerNorm(20)
    for norm in (ours, theirs):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    close(ours(x), theirs(x))
    rms, llama = RMSNorm(20, eps=1e-6), LlamaRMSNorm(20, eps=1e-6)
    for norm in (rms, llama):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(3))
    close(rms(x), llama(x))


def test_activations_equal_the_libraries():
    x = torch.linspace(-6, 6, 400)
    close(gelu(x), ACT2FN["gelu_new"](x), atol=2e-6)
    close(gelu(x, exact=True), nn.functional.gelu(x))
    difference = (gelu(x) - gelu(x, exact=True)).abs().max()
    assert 1e-4 < difference < 5e-4
    network = SwigluFeedForward(4, 6)
    y = torch.randn(2, 3, 4)
    close(network(y), network.down(nn.functional.silu(network.gate(y)) * network.up(y)))
