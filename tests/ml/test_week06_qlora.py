"""Week 6: NF4, the 4-bit layer, labels, memory and the training loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week06_lora.examples import IGNORE, Batch, causal_loss, make_batch
from ml.week06_lora.exercises import masked_by_id, outlier_damage
from ml.week06_lora.inject import adapters, inject, merge
from ml.week06_lora.memory import measure
from ml.week06_lora.nf4 import dequantise, dequantise_scales, int4_values, nf4_values, quantise, quantise_scales
from ml.week06_lora.qlora import Linear4bit, dequantise_bases, inject_qlora
from ml.week06_lora.tune import evaluate, perplexity, rate, tune

PUBLISHED = [  # QLoRA's appendix E
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(vocabulary=61, context=32, width=24, layers=2, heads=4, hidden=40)).eval()


@pytest.fixture
def batch() -> Batch:
    ids = torch.randint(0, 61, (4, 16), generator=torch.Generator().manual_seed(1))
    return Batch(ids, ids)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_code_book_is_the_published_one() -> None:
    torch.testing.assert_close(nf4_values(), torch.tensor(PUBLISHED), rtol=0, atol=2e-7)


@pytest.mark.parametrize("shape", [(64,), (3, 64), (7, 13), (1,), (128, 65)])
def test_each_weight_becomes_the_nearest_value_within_the_bound(shape: tuple[int, ...]) -> None:
    weight = normal(*shape, seed=len(shape))
    back = dequantise(quantise(weight, double=False))
    assert back.shape == weight.shape
    for start in range(0, weight.numel(), 64):
        block, result = weight.flatten()[start : start + 64], back.flatten()[start : start + 64]
        scale = block.abs().max()
        nearest = (block[:, None] - nf4_values() * scale).abs().min(dim=1).values  # brute force
        torch.testing.assert_close((result - block).abs(), nearest, rtol=0, atol=1e-6)
        assert (result - block).abs().max() <= 0.1520 * scale
    widest = nf4_values().diff().max() / 2
    assert widest == pytest.approx(0.1519, abs=1e-4)


def test_zeros_and_extremes_are_exact() -> None:
    weight = torch.tensor([[0.0, 3.0, -3.0, 0.0]])
    torch.testing.assert_close(dequantise(quantise(weight, double=False)), weight, rtol=0, atol=0)
    assert dequantise(quantise(torch.zeros(5, 70))).abs().max() == 0
    # From one block's point of view: quantising what came out of it changes nothing.
    once = dequantise(quantise(normal(10, 64), double=False))
    torch.testing.assert_close(dequantise(quantise(once, double=False)), once)


def test_double_quantisation_costs_little_and_keeps_its_bound() -> None:
    scales = normal(1000).abs() + 2
    codes, outer, mean = quantise_scales(scales)
    assert codes.dtype == torch.uint8
    error = (dequantise_scales(codes, outer, mean) - scales).abs()
    assert (error <= outer.repeat_interleave(256)[:1000] / 254 + 1e-6).all()
    weight = normal(512, 512)
    plain, double = (dequantise(quantise(weight, flag)) for flag in (False, True))
    errors = [(back - weight).square().mean().sqrt().item() for back in (plain, double)]
    assert errors[1] < 1.01 * errors[0]


def test_bits_per_weight() -> None:
    weight = normal(1024, 1024)
    assert 8 * quantise(weight, double=False).size / weight.numel() == 4.5
    assert 8 * quantise(weight).size / weight.numel() == pytest.approx(4.127, abs=1e-3)


def test_nf4_beats_even_spacing_on_normal_weights() -> None:
    weight = normal(256, 256)
    nf4, even = (
        (dequantise(quantise(weight, False, values), values) - weight).norm() / weight.norm()
        for values in (nf4_values(), int4_values())
    )
    assert nf4 < 0.95 * even


def test_what_cannot_be_quantised() -> None:
    for weight in (torch.zeros(0), torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])):
        with pytest.raises(ValueError, match="finite numbers"):
            quantise(weight)


@pytest.mark.parametrize("bias", [True, False])
def test_the_packed_layer_is_the_layer_with_its_dequantised_weight(bias: bool) -> None:
    layer = nn.Linear(70, 30, bias=bias)
    packed = Linear4bit(layer)
    plain = packed.as_float()
    x, y = normal(2, 5, 70).requires_grad_(), normal(2, 5, 70).requires_grad_()
    torch.testing.assert_close(packed(x), plain(y))
    packed(x).square().sum().backward()
    plain(y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert not [parameter for parameter in packed.parameters() if parameter.requires_grad]


def test_no_float_weight_is_kept_for_the_backward_pass() -> None:
    layer, kept = nn.Linear(64, 48, bias=False), []
    packed = Linear4bit(layer)

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    x = normal(3, 64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        packed(x)
    assert kept == []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)  # plain autograd keeps it
    assert any(sorted(shape) == [48, 64] for shape in kept)


def test_qlora_learns_and_its_base_stays(decoder: Decoder, batch: Batch) -> None:
    inject_qlora(decoder, rank=4)
    before = {name: buffer.clone() for name, buffer in decoder.named_buffers()}
    losses = tune(decoder, [batch] * 15, 15, 1e-2).losses
    assert losses[-1] < losses[0] - 0.1
    for name, buffer in decoder.named_buffers():
        assert torch.equal(buffer, before[name])


def test_a_packed_base_is_merged_only_after_dequantising(decoder: Decoder, batch: Batch) -> None:
    inject_qlora(decoder, rank=4)
    tune(decoder, [batch] * 5, 5, 1e-2)
    beside = decoder(batch.ids)
    with pytest.raises(ValueError, match="dequantise it first"):
        merge(decoder)
    dequantise_bases(decoder)
    merge(decoder)
    torch.testing.assert_close(decoder(batch.ids), beside, rtol=0, atol=1e-5)


def test_labels_hold_the_answer_and_its_end_only() -> None:
    """pad = end = 2, as in SmolLM2: the end of the answer is scored, the padding after it is not."""
    batch = make_batch([([5, 6], [7, 8, 2]), ([5], [9, 2])], pad=2, longest=8)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 2], [5, 9, 2, 2, 2]]
    assert batch.labels.tolist() == [[IGNORE, IGNORE, 7, 8, 2], [IGNORE, 9, 2, IGNORE, IGNORE]]
    assert batch.scored == 5
    careless = masked_by_id(batch, pad=2)  # exercise 3
    assert 2 not in careless.tolist()[0] + careless.tolist()[1]


def test_rows_are_cut_and_bad_ones_refused() -> None:
    assert make_batch([([1, 2], [3, 4, 5])], pad=0, longest=4).labels.tolist() == [[IGNORE, IGNORE, 3, 4]]
    with pytest.raises(ValueError, match="leaves no answer within 2"):
        make_batch([([1, 2], [3])], pad=0, longest=2)
    with pytest.raises(ValueError, match="at least one"):
        make_batch([], pad=0, longest=2)


def test_prompt_and_padding_move_no_gradient_and_the_loss_is_hugging_faces() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    batch = make_batch([([5, 6, 7], [8, 9, 2]), ([5], [9, 2])], pad=2, longest=8)
    logits = model(input_ids=batch.ids).logits
    loss = causal_loss(logits, batch.labels)
    theirs = model(input_ids=batch.ids, labels=batch.labels).loss
    torch.testing.assert_close(loss, theirs)
    (gradient,) = torch.autograd.grad(loss, logits)
    used = gradient.abs().sum(dim=-1) > 0
    assert used.tolist() == [[False, False, True, True, True, False], [True, True, False, False, False, False]]
    other = make_batch([([5, 6, 7], [8, 9, 2]), ([5], [9, 2])], pad=30, longest=8)  # another filling, the same loss
    torch.testing.assert_close(causal_loss(model(input_ids=other.ids).logits, other.labels), loss)


def test_memory_by_hand() -> None:
    layer = nn.Linear(100, 50, bias=False)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(normal(2, 100)).sum().backward()
    optimiser.step()
    memory = measure(layer, optimiser)
    assert (memory.weights, memory.gradients, memory.trained) == (20_000, 20_000, 5000)
    assert memory.optimiser == 40_000 + 4  # two means, and the step's number
    assert memory.total == 16 * 5000 + 4


def test_lora_and_qlora_need_less(decoder: Decoder, batch: Batch) -> None:
    full = tune(copy.deepcopy(decoder), [batch], 1, 1e-3).memory
    made = []
    for prepare in (inject, inject_qlora):
        model = copy.deepcopy(decoder)
        prepare(model, rank=2)
        made.append(tune(model, [batch], 1, 1e-3).memory)
    lora, qlora = made
    assert full.trained > 5 * lora.trained == 5 * qlora.trained
    assert lora.gradients == qlora.gradients == 4 * lora.trained
    assert lora.weights == full.weights + 4 * lora.trained
    packed = sum(quantise(decoder.get_submodule(name).weight).size for name in inject(copy.deepcopy(decoder)))
    floats = sum(p.numel() for p in decoder.parameters()) - sum(
        decoder.get_submodule(name).weight.numel() for name in inject(copy.deepcopy(decoder))
    )
    assert qlora.weights == packed + 4 * (floats + qlora.trained)
    assert qlora.total < lora.total < full.total


def test_full_fine_tuning_lora_and_their_loop(decoder: Decoder, batch: Batch) -> None:
    steps: list[int] = []
    full = tune(copy.deepcopy(decoder), [batch] * 10, 10, 1e-2, steps.append)
    assert steps == list(range(1, 11))
    assert full.losses[-1] < full.losses[0] - 0.3
    inject(decoder, rank=8)
    frozen = {name: tensor.clone() for name, tensor in decoder.state_dict().items() if not name.endswith((".a", ".b"))}
    lora = tune(decoder, [batch] * 10, 10, 2e-2)
    assert lora.losses[-1] < lora.losses[0] - 0.1
    for name, tensor in frozen.items():
        assert torch.equal(tensor, decoder.state_dict()[name])
    decoder.requires_grad_(False)
    with pytest.raises(ValueError, match="requires a gradient"):
        tune(decoder, [batch], 1, 1e-3)


def test_the_first_step_is_torchs(decoder: Decoder, batch: Batch) -> None:
    """One step with the warm-up's full rate, beside AdamW by hand on torch's own loss."""
    twin = copy.deepcopy(decoder)
    tune(decoder, [batch], 1, 1e-3)
    loss = nn.functional.cross_entropy(twin(batch.ids)[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=0.0).step()
    for ours, theirs in zip(decoder.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_rate_goes_up_and_down() -> None:
    rates = [rate(step, 50) for step in range(50)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.05
    assert max(rates) == 1.0


def test_evaluation_weighs_by_tokens(decoder: Decoder) -> None:
    short, long = (make_batch([([1], list(range(2, 2 + n)))], 0, 32) for n in (2, 20))
    parts = [causal_loss(decoder(part.ids), part.labels).item() for part in (short, long)]
    assert evaluate(decoder, [short, long]) == pytest.approx((2 * parts[0] + 20 * parts[1]) / 22, rel=1e-5)
    assert perplexity(decoder, [short]) == pytest.approx(math.exp(parts[0]), rel=1e-5)


def test_exercise_4_one_large_weight_spoils_its_block() -> None:
    assert outlier_damage(3.0) < 0.1
    assert outlier_damage(30.0) > 5 * outlier_damage(3.0)


def test_the_tiny_models_adapters_start_alike(decoder: Decoder) -> None:
    """Two runs with one seed have one A: runs differ by what is studied and by nothing else."""
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        model = copy.deepcopy(decoder)
        inject(model, rank=2)
        made.append([layer.a for _, layer in adapters(model)])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))
