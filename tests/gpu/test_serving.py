"""The engine on a GPU: graphs against plain passes, adapters in both, four bits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.serving.world import Said, ask, running, save_adapter
from workers.language_model import load
from workers.serving import quantising
from workers.serving.engine import Engine
from workers.serving.requests import Request

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TEXT = [1, *[3 + (7 * i * i) % 250 for i in range(150)]]


def requests(count: int, names: Sequence[str | None] = (None,)) -> list[Request]:
    mixed = random.Random(4)
    made = []
    for number in range(count):
        prompt = [mixed.randrange(3, 259) for _ in range(mixed.randrange(3, 90))]
        length = mixed.randrange(4, 60)
        made.append(Request(prompt, max_tokens=length, min_tokens=length, adapter=names[number % len(names)]))
    return made


async def answers(
    folder: Path, device: str, asked: Sequence[Request], loaded: dict[str, Path], graphs: bool
) -> list[Said]:
    """With fewer slots than requests, so that rows of all ages are in a pass together."""
    model = load(folder, device=device, dtype=torch.float32)
    async with running(model, slots=5, context=256) as engine:
        engine._batch.graphs.usable = graphs
        for name, place in loaded.items():
            await engine.load_adapter(name, place)
        said = await asyncio.gather(*(ask(engine, request) for request in asked))
        assert bool(engine._batch.graphs.found) is graphs
        assert engine.stats().finished == len(asked)
    return said


@pytest.mark.parametrize("names", [(None,), ("one",), (None, "one", "two")], ids=["base", "adapter", "mixed"])
def test_graphs_say_what_plain_passes_and_a_cpu_say(
    tiny_folder: Path, tmp_path: Path, names: tuple[str | None, ...]
) -> None:
    loaded = {name: tmp_path / name for name in names if name}
    for seed, folder in enumerate(loaded.values()):
        save_adapter(load(tiny_folder, device="cpu").model, folder, seed=seed)
    asked = requests(24, names)
    runs = [("cpu", False), ("cuda", False), ("cuda", True)]
    cpu, plain, recorded = (asyncio.run(answers(tiny_folder, *run[:1], asked, loaded, run[1])) for run in runs)
    alike = [sum(a.tokens == b.tokens for a, b in zip(cpu, other, strict=True)) for other in (plain, recorded)]
    assert min(alike) >= 23  # of a near tie either token may come first


def test_an_adapter_that_is_replaced_while_graphs_run_answers_as_the_new_one(tiny_folder: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for seed, folder in enumerate(folders):
        save_adapter(load(tiny_folder, device="cpu").model, folder, seed=seed)

    async def swapped() -> list[list[int]]:
        model = load(tiny_folder, device="cuda", dtype=torch.float32)
        request = Request(TEXT[:40], max_tokens=30, min_tokens=30, adapter="ours")
        found = []
        async with running(model, slots=4, context=256) as engine:
            for folder in folders * 2:
                busy = asyncio.gather(*(ask(engine, other) for other in requests(3)))
                await engine.load_adapter("ours", folder)
                found.append((await ask(engine, request)).tokens)
                await busy
        return found

    first, second, third, fourth = asyncio.run(swapped())
    assert (first, second) == (third, fourth)
    assert first != second


def test_a_pass_that_fails_while_it_is_recorded_is_made_plainly(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    async def said() -> tuple[Said, Engine]:
        async with running(load(tiny_folder, device="cuda", dtype=torch.float32), slots=2, context=256) as engine:
            return await ask(engine, Request(TEXT[:40], max_tokens=20, min_tokens=20)), engine

    wanted, _ = asyncio.run(said())
    monkeypatch.setattr("workers.serving.graphs.Graphs._record", broken)
    found, engine = asyncio.run(said())
    assert found.tokens == wanted.tokens
    assert not engine._batch.graphs.usable


def test_four_bits_are_smaller_and_nearly_as_good(tiny_folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    plain = quantising.prepare(load(tiny_folder, device="cuda", dtype=torch.bfloat16).model, 256, "none")
    small = quantising.prepare(load(tiny_folder, device="cuda", dtype=torch.bfloat16).model, 256, "4bit")
    assert small.bytes < 0.6 * plain.bytes
    before = quantising.perplexity(plain, TEXT)
    assert quantising.perplexity(small, TEXT) == pytest.approx(before, rel=0.1)

    async def said() -> Said:
        model = load(tiny_folder, device="cuda", dtype=torch.bfloat16)
        async with running(model, slots=2, context=256, quantisation="4bit") as engine:
            return await ask(engine, Request(TEXT[:40], max_tokens=20, min_tokens=20))

    assert len(asyncio.run(said()).tokens) == 20
