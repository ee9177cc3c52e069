"""The prefix cache: the same tokens with and without, and less to read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import torch

from tests.serving.world import ask, running, save_adapter
from workers.language_model import LanguageModel, load
from workers.serving.cache import BLOCK, Prefixes, Slots
from workers.serving.requests import Request

SHARED = [1, *range(20, 170)]  # a system prompt of 151 tokens


def requests() -> list[Request]:
    return [
        Request([*SHARED, 30 + i, 31 + i, 200], max_tokens=12, min_tokens=12, temperature=0.8, seed=i) for i in range(6)
    ]


async def test_tokens_are_the_same_with_and_without(tiny: LanguageModel, tiny_folder: Path) -> None:
    async with running(tiny, slots=2, prefix_bytes=0) as engine:
        without = await asyncio.gather(*(ask(engine, request) for request in requests()))
        assert engine.stats().cached_tokens == 0
    async with running(load(tiny_folder), slots=2) as engine:
        with_it = await asyncio.gather(*(ask(engine, request) for request in requests()))
        stats = engine.stats()
    assert [s.tokens for s in with_it] == [s.tokens for s in without]
    whole = len(SHARED) // BLOCK * BLOCK
    # Even the second, which came at the same time as the first, waits for its blocks.
    assert [s.usage.cached_tokens for s in with_it] == [0, *[whole] * 5]
    assert stats.cached_tokens == 5 * whole


async def test_a_conversation_goes_on_where_it_ended(tiny: LanguageModel) -> None:
    async with running(tiny) as engine:
        first = await ask(engine, Request(SHARED, max_tokens=40, min_tokens=40))
        again = [*SHARED, *first.tokens, 99, 98]
        second = await ask(engine, Request(again, max_tokens=4))
    assert second.usage.cached_tokens >= (len(SHARED) + 39) // BLOCK * BLOCK - BLOCK
    assert second.usage.cached_tokens > len(SHARED)


async def test_the_same_prompt_again_leaves_one_token_to_read(tiny: LanguageModel) -> None:
    prompt = list(range(3, 3 + 4 * BLOCK))
    async with running(tiny) as engine:
        first = await ask(engine, Request(prompt, max_tokens=8))
        second = await ask(engine, Request(prompt, max_tokens=8))
    assert second.tokens == first.tokens
    assert second.usage.cached_tokens == 3 * BLOCK


async def test_adapters_do_not_share_what_they_have_read(tiny: LanguageModel, tmp_path: Path) -> None:
    save_adapter(tiny.model, tmp_path / "a", seed=1)
    async with running(tiny) as engine:
        await engine.load_adapter("a", tmp_path / "a")
        await ask(engine, Request(SHARED, max_tokens=2))
        other = await ask(engine, Request(SHARED, max_tokens=2, adapter="a"))
        same = await ask(engine, Request(SHARED, max_tokens=2, adapter="a"))
        assert (other.usage.cached_tokens, same.usage.cached_tokens) == (0, len(SHARED) // BLOCK * BLOCK)
        await engine.load_adapter("a", tmp_path / "a")  # a new version under the name
        renewed = await ask(engine, Request(SHARED, max_tokens=2, adapter="a"))
        assert renewed.usage.cached_tokens == 0


def slots_with_numbers() -> Slots:
    slots = Slots(1, 2, 1, 8 * BLOCK, 2, dtype=torch.float32, device=torch.device("cpu"))
    slots.keys[0, 0, 0] = torch.arange(8 * BLOCK)[:, None].float()
    slots.values[0, 0, 0] = -torch.arange(8 * BLOCK)[:, None].float()
    return slots


def test_blocks_come_back_as_they_went_in() -> None:
    slots, prefixes = slots_with_numbers(), Prefixes(10**6)
    tokens = list(range(3 * BLOCK + 5))
    prefixes.keep(None, tokens, slots, 0)
    found = prefixes.find(None, tokens)
    assert len(found) == 3
    slots.write(1, 0, found)
    assert torch.equal(slots.keys[:, 1, :, : 3 * BLOCK], slots.keys[:, 0, :, : 3 * BLOCK])
    assert torch.equal(slots.values[:, 1, :, : 3 * BLOCK], slots.values[:, 0, :, : 3 * BLOCK])
    assert len(prefixes.find(None, tokens, BLOCK)) == 2
    changed = [*tokens[:BLOCK], -1, *tokens[BLOCK + 1 :]]
    assert len(prefixes.find(None, changed)) == 1
    assert prefixes.find(object(), tokens) == []


def test_a_full_cache_lets_go_of_the_ends_that_are_unused_for_longest() -> None:
    slots = slots_with_numbers()
    size = slots.read(0, 0).nbytes
    prefixes = Prefixes(5 * size)
    old, new = [0] * (3 * BLOCK), [0] * BLOCK + [1] * (2 * BLOCK)
    prefixes.keep(None, old, slots, 0)
    prefixes.keep(None, new, slots, 0)  # shares its first block: 5 in all
    assert prefixes.bytes == 5 * size
    prefixes.find(None, old)
    prefixes.keep(None, [2] * BLOCK, slots, 0)
    assert prefixes.bytes == 5 * size
    assert (len(prefixes.find(None, old)), len(prefixes.find(None, new))) == (3, 2)
    prefixes.forget(None)
    assert prefixes.bytes == 0
    assert prefixes.find(None, old) == []
