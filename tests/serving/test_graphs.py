"""The pass that a GPU records, run on the CPU as a GPU runs it: the same work again and again on one table."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.serving.world import Said, ask, running, save_adapter
from workers.language_model import LanguageModel, load
from workers.serving.graphs import Graphs, Recorded
from workers.serving.requests import Request


class Replayed:
    """Fills the same logits anew, as a graph does."""

    def __init__(self, run: Callable[[], torch.Tensor]) -> None:
        self.logits = run()
        self._run = run
        self.times = 0

    def replay(self) -> None:
        self.logits.copy_(self._run())
        self.times += 1


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[Replayed]:
    made: list[Replayed] = []

    def record(self: Graphs, rows: int, length: int, adapter: object) -> Recorded:
        table, run = self.work(rows, length, adapter)  # type: ignore[arg-type]
        made.append(Replayed(run))
        return Recorded(made[-1], table, made[-1].logits, adapter, run)  # type: ignore[arg-type]

    monkeypatch.setattr(Graphs, "_record", record)
    return made


def requests(name: str | None) -> list[Request]:
    mixed = random.Random(4)
    made = []
    for number in range(14):
        prompt = [mixed.randrange(3, 259) for _ in range(mixed.randrange(3, 90))]
        length = mixed.randrange(4, 40)
        made.append(Request(prompt, max_tokens=length, min_tokens=length, adapter=name if number % 5 else None))
    return made


async def answers(model: LanguageModel, folder: Path | None, graphs: bool) -> list[Said]:
    async with running(model, slots=3, context=256) as engine:
        engine._batch.graphs.usable = graphs
        engine._batch.pause = 3 if graphs else 0
        if folder is not None:
            await engine.load_adapter("ours", folder)
        asked = requests(None if folder is None else "ours")
        return list(await asyncio.gather(*(ask(engine, request) for request in asked)))


@pytest.mark.parametrize("adapted", [False, True])
async def test_a_recorded_pass_says_what_a_plain_one_says(
    tiny_folder: Path, tmp_path: Path, recording: list[Replayed], adapted: bool
) -> None:
    folder = tmp_path if adapted else None
    if folder is not None:
        save_adapter(load(tiny_folder).model, folder, seed=1)
    plain = await answers(load(tiny_folder), folder, graphs=False)
    assert not recording
    recorded = await answers(load(tiny_folder), folder, graphs=True)
    assert [said.tokens for said in recorded] == [said.tokens for said in plain]
    assert sum(one.times for one in recording) > 30
    assert len(recording) <= (8 if adapted else 4)  # one for each size, not for each pass


async def test_an_adapter_that_goes_takes_its_passes_along(
    tiny_folder: Path, tmp_path: Path, recording: list[Replayed]
) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for seed, folder in enumerate(folders):
        save_adapter(load(tiny_folder).model, folder, seed=seed)
    request = Request([1, 5, 9, 7], max_tokens=30, min_tokens=30, adapter="ours")
    found = []
    async with running(load(tiny_folder), slots=2, context=256) as engine:
        engine._batch.graphs.usable = True
        for folder in (*folders, folders[0]):
            await engine.load_adapter("ours", folder)
            found.append((await ask(engine, request)).tokens)
        kept = engine._batch.graphs.found
        assert len(kept) == 1
    assert found[0] == found[2] != found[1]
    assert len(recording) == 3
