"""Rows that join, leave and wait for each other; and that none of it changes what a request gets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import torch

from tests.serving.world import ask, generate, running
from workers.language_model import LanguageModel
from workers.serving import batching
from workers.serving.llama import Pass
from workers.serving.requests import Piece, Request
from workers.serving.sampling import Choice, choose, nucleus

PROMPT = [1, 70, 71, 72, 73, 74]


async def test_rows_join_and_leave_a_batch_that_is_running(tiny: LanguageModel) -> None:
    """More requests than slots, of every length: each gets what it would get alone."""
    cases = [([1, *range(10 + i, 14 + 5 * i)], 3 + 7 * i % 20) for i in range(12)]
    expected = [generate(tiny.model, prompt, count, ends=False) for prompt, count in cases]
    async with running(tiny, slots=3) as engine:
        said = await asyncio.gather(
            *(ask(engine, Request(prompt, max_tokens=count, min_tokens=count)) for prompt, count in cases)
        )
        stats = engine.stats()
    assert [s.tokens for s in said] == expected
    assert stats.step_rows > 1.5 * stats.steps  # they did share passes
    assert stats.finished == 12


async def test_a_long_prompt_does_not_hold_up_a_row_that_writes(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "STRETCH", 32)
    order: list[str] = []

    async def follow(name: str, stream: object) -> None:
        async for piece in stream:  # type: ignore[attr-defined]
            assert isinstance(piece, Piece)
            order.extend(name for _ in piece.token_ids)

    async with running(tiny, slots=2, prefix_bytes=0) as engine:
        writing = engine.submit(Request(PROMPT, max_tokens=60, min_tokens=60))
        await anext(writing)
        reading = engine.submit(Request([7] * 400, max_tokens=2, min_tokens=2))
        await asyncio.gather(follow("writing", writing), follow("reading", reading))
    before = order[: order.index("reading")].count("writing")
    assert before >= 400 // 32  # a token in each of the passes that read the prompt
    assert order.index("reading") < len(order) - 2


async def test_a_cancelled_row_frees_its_slot_for_the_next_pass(tiny: LanguageModel) -> None:
    async with running(tiny, slots=1) as engine:
        first = engine.submit(Request(PROMPT, max_tokens=480, min_tokens=480))
        await anext(first)
        second = asyncio.create_task(ask(engine, Request(PROMPT, max_tokens=4, min_tokens=4)))
        await asyncio.sleep(0)
        first.cancel()
        said = await asyncio.wait_for(second, 20)
        stats = engine.stats()
    assert len(said.tokens) == 4
    assert stats.completion_tokens < 400


async def test_a_client_that_goes_away_cancels(tiny: LanguageModel) -> None:
    async def client(engine: object) -> None:
        async with contextlib.aclosing(engine.submit(Request(PROMPT, max_tokens=480, min_tokens=480))) as stream:  # type: ignore[attr-defined]
            async for _ in stream:
                pass

    async with running(tiny, slots=1) as engine:
        task = asyncio.create_task(client(engine))
        while engine.stats().completion_tokens == 0:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ask(engine, Request(PROMPT, max_tokens=2))
        assert engine.stats().cancelled == 1


async def test_a_seed_gives_the_same_tokens_whatever_else_is_running(tiny: LanguageModel) -> None:
    request = Request(PROMPT, max_tokens=30, min_tokens=30, temperature=1.0, top_p=0.9, seed=11)
    others = [Request([1, 30 + i], max_tokens=20 + i, min_tokens=20, temperature=1.3, seed=i) for i in range(5)]
    async with running(tiny, slots=4) as engine:
        alone = await ask(engine, request)
        crowd = await asyncio.gather(*(ask(engine, other) for other in others[:3]), ask(engine, request))
        other_seed = await ask(engine, Request(PROMPT, max_tokens=30, min_tokens=30, temperature=1.0, seed=12))
    assert crowd[-1].tokens == alone.tokens
    assert other_seed.tokens != alone.tokens


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    probabilities = torch.tensor([0.1, 0.4, 0.2, 0.3])
    assert nucleus(probabilities, 0.5).tolist() == pytest.approx([0, 0.4, 0, 0.3])
    assert nucleus(probabilities, 0.4).tolist() == pytest.approx([0, 0.4, 0, 0])
    flat = torch.full((1000,), 0.001)  # wider than the first look
    assert int((nucleus(flat, 0.5) > 0).sum()) in (500, 501)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7]))
    choice = Choice(1.0, 1.0, 5)
    counts = torch.bincount(torch.tensor([choice.draw(logits) for _ in range(3000)]), minlength=3) / 3000
    assert counts.tolist() == pytest.approx([0.1, 0.2, 0.7], abs=0.03)
    cold = Choice(0.5, 1.0, 5)  # squares them: 1, 4, 49
    counts = torch.bincount(torch.tensor([cold.draw(logits) for _ in range(3000)]), minlength=3) / 3000
    assert counts.tolist() == pytest.approx([1 / 54, 4 / 54, 49 / 54], abs=0.03)
    greedy = Choice(0.0, 1.0, None)
    assert choose(torch.stack([logits, -logits]), [greedy, greedy]) == [2, 0]


def test_a_pass_puts_single_tokens_first_and_names_those_that_are_asked() -> None:
    rows = [(0, 16, [6, 7, 8]), (2, 9, [5]), (1, 3, [4])]
    batch = Pass.of(rows, [True, False, True], torch.device("cpu"))
    assert batch.ids.tolist() == [5, 4, 6, 7, 8]
    assert batch.positions.tolist() == [9, 3, 16, 17, 18]
    assert batch.slots.tolist() == [2, 1, 0, 0, 0]
    assert batch.order == (1, 2, 0, 0, 0)
    assert batch.wanted.tolist() == [4, 1]
    assert (batch.singles, batch.single_lengths) == ((2, 1), (10, 4))
    assert [(c.begin, c.end, c.slot, c.start) for c in batch.chunks] == [(2, 5, 0, 16)]


async def test_a_row_much_longer_than_the_others_does_not_widen_their_attention(tiny: LanguageModel) -> None:
    long = [1, *[3 + (7 * i * i) % 250 for i in range(420)]]
    cases = [long, *([1, 40 + i, 41] for i in range(4))]
    expected = [generate(tiny.model, prompt, 12, ends=False) for prompt in cases]
    rows = [(slot, len(prompt), [5]) for slot, prompt in enumerate(cases)]
    batch = Pass.of(rows, [True] * 5, torch.device("cpu"))
    assert batch.singles == (1, 2, 3, 4)
    assert [(chunk.slot, chunk.end - chunk.begin) for chunk in batch.chunks] == [(0, 1)]
    async with running(tiny, slots=5) as engine:
        said = await asyncio.gather(*(ask(engine, Request(prompt, max_tokens=12, min_tokens=12)) for prompt in cases))
    assert [s.tokens for s in said] == expected
