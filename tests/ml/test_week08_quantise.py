"""Week 8, the codes: error bounds, packing, GPTQ, checkpoints, and torch's kernels on the same codes."""

import pytest
import torch
from torch import nn

from ml.lesson import LessonError
from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week08_serving.gptq import collect_hessians, gptq, inverse_factor, output_error
from ml.week08_serving.layers import (
    QuantLinear,
    linear_names,
    load,
    model_bytes,
    nearest,
    pack,
    quantise_model,
    save,
    unpack,
)
from ml.week08_serving.quantise import Quantised, error_bound, quantise
from ml.week08_serving.torch_kernels import Int4Kernel, Int8Kernel, bitsandbytes_linear, dynamic_int8

SMALL = DecoderConfig(vocabulary=64, context=64, width=32, layers=2, heads=2, hidden=64)


def weights(seed: int, outputs: int = 24, inputs: int = 64) -> torch.Tensor:
    """A matrix with rows of very different size, some outliers, a row of zeros and a row of one sign."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) * torch.logspace(-3, 1, outputs)[:, None]
    weight[3, 5] *= 50
    weight[0], weight[1] = 0, weight[1].abs() + 1
    return weight


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sharing", ["tensor", "channel", 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_no_weight_is_off_by_more_than_half_a_step(bits: int, sharing: str | int, symmetric: bool) -> None:
    for seed in range(5):
        weight = weights(seed)
        quantised = quantise(weight, bits, sharing, symmetric)
        error, bound = (weight - quantised.dequantise()).abs(), error_bound(quantised)
        assert (error <= bound * (1 + 1e-5) + 1e-7).all()
        assert (error > 0.8 * bound).any()  # the bound is tight, not merely large
        assert (quantised.dequantise()[weight == 0] == 0).all()


def test_a_matrix_quantised_by_hand() -> None:
    weight = torch.tensor([[0.0, 3.5, -7.0, 1.2], [0.1, -0.2, 0.05, 0.7]])
    rows = quantise(weight, 4, "channel")
    assert rows.scale.flatten().tolist() == pytest.approx([1.0, 0.1])
    assert rows.codes.tolist() == [[0, 4, -7, 1], [1, -2, 0, 7]]  # 3.5 and 0.5 are rounded to the even neighbour
    whole = quantise(weight, 4, "tensor")
    assert whole.codes.tolist() == [[0, 4, -7, 1], [0, 0, 0, 1]]  # one scale for all: the small row is nearly lost
    shifted = quantise(torch.tensor([[1.0, 2.0, 15.0, 0.0]]), 4, "channel", symmetric=False)
    assert (shifted.scale.item(), shifted.zero.item(), shifted.codes.tolist()) == (1.0, 0.0, [[1, 2, 15, 0]])


def test_codes_equal_torchs_own() -> None:
    weight = weights(1)[2:]
    ours = quantise(weight, 8, "channel")
    theirs = torch.fake_quantize_per_channel_affine(
        weight, ours.scale.flatten(), torch.zeros(len(weight), dtype=torch.int32), 0, -127, 127
    )
    torch.testing.assert_close(ours.dequantise(), theirs)


def test_sharing_a_scale_with_fewer_weights_costs_bits_and_lowers_the_error() -> None:
    weight = weights(2)
    found = [quantise(weight, 4, sharing) for sharing in ("tensor", "channel", 16)]
    errors = [(weight - one.dequantise()).norm().item() for one in found]
    assert errors[0] > errors[1] > errors[2]
    assert [one.bits_per_weight() for one in found] == pytest.approx([4 + 32 / 1536, 4.5, 6.0])


@pytest.mark.parametrize(
    ("bits", "sharing", "value"),
    [(1, "tensor", 1.0), (9, "tensor", 1.0), (4, 7, 1.0), (4, "row", 1.0), (4, 16, float("nan"))],
)
def test_bad_input_is_refused(bits: int, sharing: str | int, value: float) -> None:
    with pytest.raises(ValueError, match=r"\."):
        quantise(torch.full((2, 16), value), bits, sharing)


def test_every_pair_of_4_bit_codes_survives_packing() -> None:
    for low, signed in ((-8, True), (0, False)):
        every = torch.arange(low, low + 16, dtype=torch.int8 if signed else torch.uint8)
        codes = torch.cartesian_prod(every, every)
        assert pack(codes).nbytes * 2 == codes.nbytes
        assert torch.equal(unpack(pack(codes), signed), codes)
    assert pack(torch.tensor([[1, -1]], dtype=torch.int8)).item() == 0xF1
    with pytest.raises(ValueError, match="odd"):
        pack(torch.zeros(2, 3, dtype=torch.int8))


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("sharing", ["tensor", "channel", 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_layer_computes_with_the_weights_its_codes_stand_for(
    bits: int, sharing: str | int, symmetric: bool
) -> None:
    weight, bias, x = weights(3), torch.randn(24), torch.randn(2, 5, 64)
    quantised = quantise(weight, bits, sharing, symmetric)
    expected = nn.functional.linear(x, quantised.dequantise(), bias)
    torch.testing.assert_close(QuantLinear(quantised, bias)(x), expected, rtol=1e-4, atol=1e-4)


def correlated(rows: int = 512, inputs: int = 64, seed: int = 0) -> torch.Tensor:
    """Inputs as layers see them: a few directions carry most of the variance."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator) * torch.logspace(0, -2, inputs)[:, None]
    return torch.randn(rows, inputs, generator=generator) @ mix


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("sharing", ["channel", 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_gptq_beats_rounding_on_the_layers_output_also_for_unseen_inputs(
    bits: int, sharing: str | int, symmetric: bool
) -> None:
    for seed in range(2):
        inputs, weight = correlated(1024, seed=seed), torch.randn(48, 64, generator=torch.Generator().manual_seed(seed))
        seen, unseen = inputs[:512].T @ inputs[:512], inputs[512:].T @ inputs[512:]
        clever = gptq(weight, seen, bits, sharing, symmetric)
        plain = quantise(weight, bits, sharing, symmetric)
        assert output_error(weight, clever, seen) < 0.7 * output_error(weight, plain, seen)
        assert output_error(weight, clever, unseen) < 0.8 * output_error(weight, plain, unseen)


def test_gptq_without_correlation_is_rounding() -> None:
    weight = torch.randn(8, 96)
    clever, plain = gptq(weight, torch.eye(96), 4, 32), quantise(weight, 4, 32)
    assert torch.equal(clever.codes, plain.codes)
    assert torch.equal(clever.scale, plain.scale)


def test_gptq_equals_the_update_written_with_one_inverse_per_column() -> None:
    """The slow form of the paper (equation 2): invert what is left of H for every column, no blocks, no Cholesky."""
    generator = torch.Generator().manual_seed(4)
    inputs, weight = correlated(200, 80).double(), torch.randn(6, 80, generator=generator).double()
    hessian = inputs.T @ inputs
    scale = quantise(weight.float(), 3, "channel").scale[:, 0, 0].double()
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(80)
    left, codes = weight.clone(), []
    for column in range(80):
        inverse = torch.linalg.inv(damped[column:, column:])
        code = torch.round(left[:, column] / scale).clamp(-3, 3)
        codes.append(code)
        error = (left[:, column] - scale * code) / inverse[0, 0]
        left[:, column:] -= error[:, None] * inverse[0]
    ours = gptq(weight, hessian, 3, "channel").codes
    assert (ours == torch.stack(codes, dim=1)).float().mean() > 0.995  # float32 may turn a tie


def test_the_factor_is_the_root_of_the_damped_inverse() -> None:
    inputs = correlated()
    hessian = (inputs.T @ inputs).double()
    factor = inverse_factor(hessian, 0.05).double()
    damped = hessian + 0.05 * hessian.diagonal().mean() * torch.eye(64)
    torch.testing.assert_close(factor.T @ factor @ damped, torch.eye(64).double(), rtol=1e-3, atol=1e-3)
    assert torch.equal(factor, factor.triu())


def test_gptq_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="64 by 64"):
        gptq(torch.randn(4, 64), torch.eye(32))
    with pytest.raises(ValueError, match="divisor"):
        gptq(torch.randn(4, 64), torch.eye(64), sharing="tensor")


def test_output_error_and_hessians_equal_what_the_layer_really_does() -> None:
    torch.manual_seed(0)
    model, batches = Decoder(SMALL), [torch.randint(64, (2, 20)) for _ in range(3)]
    name, seen = "blocks.1.feed_forward.down", []
    layer = model.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda _layer, given: seen.append(given[0].detach().flatten(0, 1)))
    hessians = collect_hessians(model, linear_names(model), batches)
    handle.remove()
    inputs = torch.cat(seen)
    torch.testing.assert_close(hessians[name], inputs.T @ inputs)
    quantised = quantise(layer.weight, 3)
    exact, rough = inputs @ layer.weight.detach().T, inputs @ quantised.dequantise().T
    assert output_error(layer.weight, quantised, hessians[name]) == pytest.approx(
        float((exact - rough).norm() / exact.norm()), rel=1e-4
    )
    assert len(hessians) == 2 * 7
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("bits", "symmetric"), [(8, True), (4, True), (4, False), (8, False)])
def test_a_quantised_model_survives_the_disk(tmp_path, bits: int, symmetric: bool) -> None:
    torch.manual_seed(1)
    model, ids = Decoder(SMALL).eval(), torch.randint(64, (2, 16))
    quantised = quantise_model(model, nearest(bits, 16, symmetric))
    size = save(quantised, tmp_path / "model.pt")
    again = load(tmp_path / "model.pt")
    assert torch.equal(again(ids), quantised(ids))
    assert size < save(model, tmp_path / "full.pt")
    assert torch.equal(load(tmp_path / "full.pt")(ids), model(ids))
    assert not any(isinstance(layer, QuantLinear) for layer in model.modules())  # the original is left alone


def test_bytes_in_memory_are_what_the_sizes_say() -> None:
    model = Decoder(SMALL)
    linear, others = 2 * (4 * 32 * 32 + 3 * 32 * 64), 64 * 32 + 5 * 32  # the tied head counts once
    assert model_bytes(model) == 4 * (linear + others)
    outputs = 2 * (4 * 32 + 2 * 64 + 32)
    assert model_bytes(quantise_model(model, nearest(8))) == linear + 4 * outputs + 4 * others
    assert model_bytes(quantise_model(model, nearest(4, 16))) == linear // 2 + 4 * linear // 16 + 4 * others


def test_a_missing_checkpoint_is_one_sentence(tmp_path) -> None:
    with pytest.raises(LessonError, match="no checkpoint"):
        load(tmp_path / "none.pt")


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / ours.norm())


def test_torchs_kernels_compute_the_same_from_the_same_codes() -> None:
    weight, x = torch.randn(64, 128), torch.randn(5, 128)
    eight, four = quantise(weight, 8), quantise(weight, 4, 32, symmetric=False)
    assert relative(QuantLinear(eight)(x), Int8Kernel(eight)(x)) < 0.01  # bfloat16 keeps 8 bits
    assert relative(QuantLinear(four)(x), Int4Kernel(four)(x)) < 0.01
    with pytest.raises(ValueError, match="symmetric 8-bit"):
        Int8Kernel(four)
    with pytest.raises(ValueError, match="4-bit codes with a zero-point"):
        Int4Kernel(eight)


def test_torchs_dynamic_layer_is_close_to_ours() -> None:
    layer, x = nn.Linear(128, 64), torch.randn(5, 128)
    theirs = dynamic_int8(layer)
    ours = QuantLinear(quantise(layer.weight, 8), layer.bias.detach())
    assert model_bytes(nn.Sequential(theirs)) == 128 * 64  # its codes count, though parameters() does not show them
    assert relative(layer(x).detach(), theirs(x)) < 0.03  # its inputs are rounded too
    assert relative(layer(x).detach(), ours(x)) < 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bitsandbytes_says_why_it_is_skipped() -> None:
    with pytest.raises(LessonError, match="no GPU"):
        bitsandbytes_linear(nn.Linear(4, 4))


def test_the_type_of_codes_follows_the_method() -> None:
    assert isinstance(quantise(torch.randn(2, 4)), Quantised)
    assert quantise(torch.randn(2, 4)).codes.dtype == torch.int8
    assert quantise(torch.randn(2, 4), symmetric=False).codes.dtype == torch.uint8
