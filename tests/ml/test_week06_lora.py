"""Week 6: LoRA against peft, merging, adapter files, and the exercises about them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week06_lora import ecosystem
from ml.week06_lora.exercises import first_gradients, rank_for
from ml.week06_lora.inject import (
    EVERYWHERE,
    adapter_weights,
    adapters,
    inject,
    load_adapter,
    merge,
    remove,
    save_adapter,
    unmerge,
)
from ml.week06_lora.layer import LoraLinear

CONFIG = LlamaConfig(
    vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=True,
)  # fmt: skip
LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG).eval()


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(vocabulary=61, context=32, width=24, layers=2, heads=4, kv_heads=2, hidden=40)).eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(0, 61, (3, 12), generator=torch.Generator().manual_seed(1))


def fill(model: nn.Module, seed: int = 2) -> None:
    """Random A and B: with B at zero nothing would be tested."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in adapters(model):
            layer.a.copy_(0.3 * torch.randn(layer.a.shape, generator=generator))
            layer.b.copy_(0.3 * torch.randn(layer.b.shape, generator=generator))


def both(
    llama: LlamaForCausalLM, names: tuple[str, ...], rank: int, alpha: float, dropout: float = 0.0
) -> tuple[Any, Any]:
    """Ours and peft's in copies of one model, with the same matrices."""
    ours = copy.deepcopy(llama)
    inject(ours, names, rank, alpha, dropout)
    fill(ours)
    theirs = ecosystem.with_peft(copy.deepcopy(llama), names, rank, alpha, dropout)
    assert ecosystem.copy_to_peft(ours, theirs) == len(names) * 2
    return ours, theirs


@pytest.mark.parametrize(("names", "rank", "alpha"), [(("q_proj", "v_proj"), 4, 8.0), (LLAMA_LAYERS, 3, 16.0)])
def test_outputs_and_gradients_are_pefts(
    llama: LlamaForCausalLM, ids: Tensor, names: tuple[str, ...], rank: int, alpha: float
) -> None:
    ours, theirs = both(llama, names, rank, alpha)
    losses = [model(input_ids=ids, labels=ids).loss for model in (ours, theirs)]
    logits = [model(input_ids=ids).logits for model in (ours, theirs)]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)
    assert (logits[0] - llama(input_ids=ids).logits).abs().max() > 0.1  # the adapters do something
    for loss in losses:
        loss.backward()
    layers = dict(adapters(ours))
    assert len(layers) == 2 * len(names)
    for name, layer in layers.items():
        target = theirs.base_model.model.get_submodule(name)
        for gradient, part in ((layer.a.grad, target.lora_A), (layer.b.grad, target.lora_B)):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(gradient, part["default"].weight.grad, rtol=0, atol=1e-6)
    trained = {name for name, parameter in ours.named_parameters() if parameter.grad is not None}
    assert trained == {f"{name}.{part}" for name in layers for part in ("a", "b")}  # and nothing else


def test_dropout_is_pefts(llama: LlamaForCausalLM, ids: Tensor) -> None:
    ours, theirs = both(llama, LLAMA_LAYERS, 4, 8.0, dropout=0.5)
    outputs = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(7)
        outputs.append(model(input_ids=ids).logits)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-6)
    assert not torch.allclose(outputs[0], ours.eval()(input_ids=ids).logits)


def test_training_follows_peft_step_by_step(llama: LlamaForCausalLM, ids: Tensor) -> None:
    ours, theirs = both(llama, LLAMA_LAYERS, 4, 8.0)
    losses = []
    for model in (ours, theirs):
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        row = []
        for _ in range(5):
            loss = model(input_ids=ids, labels=ids).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            row.append(loss.item())
        losses.append(row)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][-1] < losses[0][0] - 0.05


def test_a_fresh_adapter_changes_nothing(decoder: Decoder, ids: Tensor) -> None:
    before = decoder(ids)
    inject(decoder, rank=4)
    torch.testing.assert_close(decoder(ids), before, rtol=0, atol=0)


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_merged_is_unmerged_and_comes_out_again(decoder: Decoder, ids: Tensor, rank: int) -> None:
    weights = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    plain = decoder(ids)
    inject(decoder, EVERYWHERE, rank, alpha=rank)
    fill(decoder)
    beside = decoder(ids)
    assert not torch.allclose(beside, plain, atol=1e-2)
    merge(decoder)
    merge(decoder)  # twice is once
    torch.testing.assert_close(decoder(ids), beside, rtol=1e-5, atol=2e-5 * beside.abs().max().item())
    unmerge(decoder)
    unmerge(decoder)
    torch.testing.assert_close(decoder(ids), beside, rtol=1e-5, atol=2e-5 * beside.abs().max().item())
    remove(decoder)
    for name, tensor in decoder.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-5)


def test_merged_equals_peft_merged(llama: LlamaForCausalLM, ids: Tensor) -> None:
    ours, theirs = both(llama, LLAMA_LAYERS, 4, 8.0)
    merge(ours)
    remove(ours)  # a plain Llama again, with the change inside
    assert not dict(adapters(ours))
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(ours(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=0, atol=1e-6)


def test_one_layer_against_its_formula_and_finite_differences() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(5, 4).double(), rank=2, alpha=6.0)
    with torch.no_grad():
        layer.b.normal_()
    x = torch.randn(3, 5, dtype=torch.float64)
    by_hand = x @ (layer.base.weight + 3.0 * layer.b @ layer.a).T + layer.base.bias  # α / r = 6 / 2
    torch.testing.assert_close(layer(x), by_hand)

    def through(a: Tensor, b: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"a": a, "b": b}, (x,))

    assert torch.autograd.gradcheck(through, (layer.a, layer.b))
    assert layer.base.weight.requires_grad is False


def test_only_named_layers_are_adapted(decoder: Decoder) -> None:
    assert inject(decoder, ["query", "blocks.1.feed_forward.up"], 2) == [
        "blocks.0.attention.query",
        "blocks.1.attention.query",
        "blocks.1.feed_forward.up",
    ]
    trained = sum(parameter.numel() for parameter in decoder.parameters() if parameter.requires_grad)
    assert trained == 2 * 2 * (24 + 24) + 2 * (24 + 40)  # r (in + out)


def test_names_are_matched_as_peft_does(llama: LlamaForCausalLM) -> None:
    for names in (["q_proj"], ["layers.1.mlp.up_proj", "o_proj"], ["model.layers.0.self_attn.v_proj"]):
        ours = inject(copy.deepcopy(llama), names, 2)
        theirs = ecosystem.with_peft(copy.deepcopy(llama), names, 2, 4.0)
        assert ours == theirs.targeted_module_names


def test_what_cannot_be_adapted_is_refused(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="no linear layer called 'uery'"):
        inject(decoder, ["query", "uery"])  # an ending counts only after a dot
    with pytest.raises(ValueError, match="shares its weight with the embedding"):
        inject(decoder, ["head"])
    with pytest.raises(ValueError, match="cannot be 25"):
        inject(decoder, ["query"], rank=25)
    with pytest.raises(ValueError, match="probability below 1"):
        LoraLinear(nn.Linear(4, 4), 2, dropout=1.0)
    inject(decoder)
    with pytest.raises(ValueError, match="no linear layer called"):
        inject(decoder)  # twice


def test_an_adapter_file_holds_the_adapter_alone(decoder: Decoder, ids: Tensor, tmp_path: Path) -> None:
    base = copy.deepcopy(decoder)
    inject(decoder, EVERYWHERE, rank=3, alpha=7.0)
    fill(decoder)
    size = save_adapter(decoder, tmp_path / "adapter.safetensors")
    numbers = sum(tensor.numel() for tensor in adapter_weights(decoder).values())
    assert 4 * numbers < size < 4 * numbers + 5000
    assert load_adapter(base, tmp_path / "adapter.safetensors") == [name for name, _ in adapters(decoder)]
    torch.testing.assert_close(base(ids), decoder(ids), rtol=0, atol=0)
    assert {name for name, p in base.named_parameters() if p.requires_grad} == set(adapter_weights(base))


def test_an_adapter_of_another_model_is_refused(decoder: Decoder, tmp_path: Path) -> None:
    other = Decoder(DecoderConfig(vocabulary=61, context=32, width=32, layers=2, heads=4))
    path = tmp_path / "adapter.safetensors"
    with pytest.raises(ValueError, match="no adapter to save"):
        save_adapter(other, path)
    inject(other, ["query"], 2)
    save_adapter(other, path)
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.query \(32, 32\) is not in this model"):
        load_adapter(decoder, path)
    deep = Decoder(DecoderConfig(vocabulary=61, context=32, width=32, layers=1, heads=4))
    with pytest.raises(ValueError, match=r"blocks\.1\.attention\.query"):
        load_adapter(deep, path)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft asks for a renamed property
def test_peft_reads_what_we_export(llama: LlamaForCausalLM, ids: Tensor, tmp_path: Path) -> None:
    ours = copy.deepcopy(llama)
    inject(ours, ("q_proj", "down_proj"), rank=4, alpha=6.0)
    fill(ours)
    ecosystem.export_peft(ours, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(copy.deepcopy(llama), tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=0, atol=1e-6)
    next(layer for _, layer in adapters(ours)).scale = 9.0
    with pytest.raises(ValueError, match="one rank and one scale"):
        ecosystem.export_peft(ours, tmp_path / "adapter")


def test_a_week_4_decoder_and_its_llama_twin_share_an_adapter(llama: LlamaForCausalLM, ids: Tensor) -> None:
    from ml.week04_transformers.pretrained import copy_llama

    ours = copy_llama(llama)
    inject(ours, EVERYWHERE, 4, 8.0)
    fill(ours)
    theirs = ecosystem.with_peft(llama, LLAMA_LAYERS, 4, 8.0)
    assert ecosystem.copy_to_peft(ours, theirs) == 14
    torch.testing.assert_close(ours(ids), theirs(input_ids=ids).logits, rtol=0, atol=1e-5)


def test_exercise_1_one_of_the_two_begins_at_zero() -> None:
    distance, a, b = first_gradients("b zero")
    assert (distance, a) == (0, 0)  # A learns from the second step on
    assert b > 0
    distance, a, b = first_gradients("a zero")
    assert (distance, b) == (0, 0)
    assert a > 0
    assert first_gradients("both zero") == (0, 0, 0)  # stuck for ever
    assert min(first_gradients("both random")) > 0  # learns, but does not begin at the pretrained model


def test_exercise_2_ranks_for_a_budget(decoder: Decoder) -> None:
    # query 24+24, value 24+12, in two layers: 168 numbers a rank
    assert rank_for(decoder, ["query", "value"], 5 * 168 + 100) == 5
    with pytest.raises(ValueError, match="too few"):
        rank_for(decoder, ["query"], 10)
