"""Weights in fewer bits: what that costs in accuracy, and what each form needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from assistant.errors import SettingsError
from tests.serving.world import ask, running
from workers.language_model import LanguageModel, load
from workers.serving import quantising
from workers.serving.llama import Dense, Llama
from workers.serving.quantising import Int8, Packed, perplexity
from workers.serving.requests import Request

TEXT = [1, *[3 + (7 * i * i) % 250 for i in range(150)]]


def test_int8_is_off_by_no_more_than_its_two_roundings() -> None:
    torch.manual_seed(0)
    weight, x, bias = torch.randn(48, 64), torch.randn(5, 64), torch.randn(48)
    x[2] *= 100  # each token has a scale of its own
    product = Int8(weight, bias)
    half_w = weight.abs().amax(1) / 254  # (O,)
    half_x = x.abs().amax(1) / 254**2  # (N,)
    bound = half_x[:, None] * weight.abs().sum(1) + x.abs().sum(1)[:, None] * half_w + 64 * half_x[:, None] * half_w
    error = (product(x) - F.linear(x, weight, bias)).abs()
    assert bool((error <= bound * 1.001).all())
    assert float((error / bound).mean()) < 0.25  # roundings mostly cancel
    rows = product.row(torch.tensor([3, 40]))
    assert bool(((rows - weight[[3, 40]]).abs() <= half_w[[3, 40], None] * 1.001).all())
    assert product.bytes < weight.nbytes / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 8, 100])
def test_packed_weights_give_the_same_product(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    weight, x, bias = (torch.randn(*shape, dtype=dtype) for shape in ((48, 64), (rows, 64), (48,)))
    if not Packed.fits(weight):
        pytest.skip("this CPU has no such kernel")
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    for b in (bias, None):
        torch.testing.assert_close(Packed(weight, b)(x), F.linear(x, weight, b), atol=tolerance, rtol=tolerance)


def test_perplexity_is_that_of_transformers_and_int8_hardly_moves_it(tiny: LanguageModel) -> None:
    with torch.no_grad():
        loss = tiny.model(torch.tensor([TEXT]), labels=torch.tensor([TEXT])).loss
    plain = quantising.prepare(tiny.model, 256, "none")
    assert perplexity(plain, TEXT, window=256) == pytest.approx(float(loss.exp()), rel=1e-4)
    small = quantising.prepare(tiny.model, 256, "int8")
    assert perplexity(small, TEXT) == pytest.approx(float(loss.exp()), rel=0.02)
    assert small.bytes < 0.4 * Llama(tiny.model, 256, Dense).bytes


async def test_an_engine_serves_in_int8(tiny: LanguageModel) -> None:
    async with running(tiny, quantisation="int8") as engine:
        said = await ask(engine, Request(TEXT[:40], max_tokens=10, min_tokens=10))
        assert len(said.tokens) == 10
        assert engine.stats().model_bytes < 0.4 * sum(p.nbytes for p in tiny.model.parameters())


async def test_an_engine_serves_in_bfloat16(tiny_folder: Any) -> None:
    model = load(tiny_folder, dtype=torch.bfloat16)
    async with running(model) as engine:
        said = await ask(engine, Request(TEXT[:40], max_tokens=10, min_tokens=10))
    assert len(said.tokens) == 10


def test_what_a_form_needs_is_said(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="4bit needs a GPU"):
        quantising.prepare(tiny.model, 64, "4bit")
    with pytest.raises(SettingsError, match="none, int8 or 4bit"):
        quantising.prepare(tiny.model, 64, "2bit")

    class OnGpu:
        device = torch.device("cuda")

    monkeypatch.setattr(quantising.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="bitsandbytes"):
        quantising.prepare(OnGpu(), 64, "4bit")
    with pytest.raises(SettingsError, match="for serving on a CPU"):
        quantising.prepare(OnGpu(), 64, "int8")
