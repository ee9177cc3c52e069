"""Adapters against peft's own model: alone, mixed in one batch, swapped while requests run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.serving.world import ask, generate, running, save_adapter
from workers.language_model import LanguageModel
from workers.serving.adapters import Sides, read
from workers.serving.cache import Slots
from workers.serving.llama import Llama, Pass
from workers.serving.requests import AdapterUnusable, NoAdapter, Request

PROMPT = [1, 70, 71, 72, 73, 74, 75, 76]
KINDS: dict[str, dict[str, Any]] = {
    "every-layer": {},
    "attention": {"modules": ["q_proj", "v_proj"], "r": 3},
    "rslora": {"use_rslora": True, "r": 8},
    "patterns": {"rank_pattern": {"q_proj": 7, "layers.1.mlp.up_proj": 2}, "alpha_pattern": {"down_proj": 31}},
    "one-layer": {"modules": ["q_proj", "down_proj"], "layers_to_transform": [1]},
    "head": {"modules": ["o_proj", "lm_head"]},
}


def logits_of(llama: Llama, prompts: list[list[int]], adapters: list[Any]) -> list[torch.Tensor]:
    """Of every prompt's last token, all read in one pass."""
    slots = Slots(
        len(llama.layers), len(prompts), llama.kv_heads, llama.context, llama.size, dtype=llama.dtype,
        device=llama.device,
    )  # fmt: skip
    batch = Pass.of([(slot, 0, prompt) for slot, prompt in enumerate(prompts)], [True] * len(prompts), llama.device)
    owners = [adapters[number] for number in batch.order]
    return list(llama.forward(batch, slots, Sides(llama).deltas(owners, batch.wanted)))


def theirs(adapted: Any, prompt: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = adapted(torch.tensor([prompt])).logits[0, -1]
    return logits


def test_logits_equal_those_of_peft_alone_and_mixed_in_one_pass(tiny: LanguageModel, tmp_path: Path) -> None:
    peft = {
        name: save_adapter(tiny.model, tmp_path / name, seed=number, **settings)
        for number, (name, settings) in enumerate(KINDS.items())
    }
    expected: list[torch.Tensor] = [theirs(tiny.model, PROMPT), *(theirs(model, PROMPT) for model in peft.values())]
    llama = Llama(tiny.model, 128)
    adapters = [None, *(read(name, tmp_path / name, llama) for name in KINDS)]
    mixed = logits_of(llama, [PROMPT] * len(adapters), adapters)
    for adapter, one, want in zip(adapters, mixed, expected, strict=True):
        name = adapter.name if adapter else "base"
        torch.testing.assert_close(one, want, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
        torch.testing.assert_close(logits_of(llama, [PROMPT], [adapter])[0], want, atol=2e-5, rtol=1e-4)
        assert adapter is None or (want - expected[0]).abs().max() > 0.05  # the adapter does change something


async def test_requests_with_different_adapters_share_a_batch(tiny: LanguageModel, tmp_path: Path) -> None:
    peft = {name: save_adapter(tiny.model, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 2))}
    expected = {name: generate(model, PROMPT, 20, ends=False) for name, model in peft.items()}
    expected |= {"": generate(tiny.model, PROMPT, 20, ends=False)}
    async with running(tiny, slots=6) as engine:
        for name in peft:
            await engine.load_adapter(name, tmp_path / name)
        assert engine.adapters == ("a", "b")
        names = ["a", "", "b", "b", "a", ""]
        said = await asyncio.gather(
            *(ask(engine, Request(PROMPT, max_tokens=20, min_tokens=20, adapter=name or None)) for name in names)
        )
        stats = engine.stats()
    assert [s.tokens for s in said] == [expected[name] for name in names]
    assert stats.step_rows > 3 * stats.steps


async def test_a_swap_and_an_unloading_drop_no_request(tiny: LanguageModel, tmp_path: Path) -> None:
    old, new = (save_adapter(tiny.model, tmp_path / str(seed), seed=seed) for seed in (1, 2))
    expected = [generate(model, PROMPT, 60, ends=False) for model in (old, new)]
    request = Request(PROMPT, max_tokens=60, min_tokens=60, adapter="a")
    async with running(tiny, slots=2) as engine:
        await engine.load_adapter("a", tmp_path / "1")
        before = [asyncio.create_task(ask(engine, request)) for _ in range(4)]  # two of them wait
        while engine.stats().completion_tokens < 10:
            await asyncio.sleep(0.002)
        await engine.load_adapter("a", tmp_path / "2")
        after = asyncio.create_task(ask(engine, request))
        await asyncio.sleep(0)
        await engine.unload_adapter("a")
        with pytest.raises(NoAdapter):
            engine.submit(request)
        with pytest.raises(NoAdapter):
            await engine.unload_adapter("a")
        assert [(await task).tokens for task in before] == [expected[0]] * 4
        assert (await after).tokens == expected[1]
        assert engine.adapters == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "changed weights"),
    ],
    ids=["kind", "dora", "bias", "modules", "start"],
)
def test_what_is_not_served_is_refused_by_name(
    tiny: LanguageModel, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    save_adapter(tiny.model, tmp_path, seed=1)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(AdapterUnusable, match=reason):
        read("it", tmp_path, Llama(tiny.model, 64))


def test_broken_files_and_other_models_are_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    save_adapter(tiny.model, tmp_path, seed=1)
    llama = Llama(tiny.model, 64)
    weights = tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    wide = {key: torch.cat((t, t), dim=1) if "lora_A" in key else t for key, t in tensors.items()}
    for changed, reason in (
        (wide, "another model"),
        ({key.replace("layers.1.", "layers.9."): t for key, t in tensors.items()}, "another model"),
        ({key: t for key, t in tensors.items() if "lora_B" not in key}, "another model"),
        ({key.replace("q_proj", "router"): t for key, t in tensors.items()}, "router"),
        ({}, "empty"),
    ):
        save_file(changed, weights)
        with pytest.raises(AdapterUnusable, match=reason):
            read("it", tmp_path, llama)
    weights.write_bytes(b"torn" * 9)
    with pytest.raises(AdapterUnusable, match="cannot be read"):
        read("it", tmp_path, llama)
    with pytest.raises(AdapterUnusable, match="cannot be read"):
        read("it", tmp_path / "nowhere", llama)
