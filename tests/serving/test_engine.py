"""One engine, from its requests to its pieces: same tokens as transformers, streaming, limits, ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from assistant.errors import SettingsError
from tests.serving.world import ask, generate, running
from workers.language_model import LanguageModel, load
from workers.serving.engine import Engine
from workers.serving.requests import BadRequest, Full, NoAdapter, Request, Stopped, TooLong
from workers.serving.text import Reader, Stops

PROMPT = [1, 70, 71, 72, 73, 74]


async def test_greedy_tokens_are_those_of_transformers(tiny: LanguageModel) -> None:
    prompts = [PROMPT, [1, *range(40, 140)], [1, 9], list(range(3, 259))]
    expected = [generate(tiny.model, prompt, 24, ends=False) for prompt in prompts]
    async with running(tiny, slots=4) as engine:
        said = await asyncio.gather(*(ask(engine, Request(prompt, max_tokens=24, min_tokens=24)) for prompt in prompts))
    assert [s.tokens for s in said] == expected
    assert all(s.finish == "length" and s.usage.completion_tokens == 24 for s in said)


async def test_an_end_token_ends_the_text_and_is_not_shown(tiny: LanguageModel) -> None:
    end = generate(tiny.model, PROMPT, 12, ends=False)[5]
    tiny.model.generation_config.eos_token_id = end
    async with running(tiny) as engine:
        said = await ask(engine, Request(PROMPT, max_tokens=12))
    assert said.tokens[-1] == end
    assert said.finish == "stop"
    assert said.text == tiny.tokenizer.decode(said.tokens[:-1])


async def test_a_stop_string_is_never_shown_not_even_in_part(tiny: LanguageModel) -> None:
    async with running(tiny) as engine:
        whole = (await ask(engine, Request(PROMPT, max_tokens=40, min_tokens=40, temperature=1.5, seed=1))).text
        place = len(whole) // 2
        stop = whole[place : place + 4]
        request = Request(PROMPT, max_tokens=40, min_tokens=40, temperature=1.5, seed=1, stop=("nowhere", stop))
        said = await ask(engine, request)
    assert said.text == whole[: whole.index(stop)]
    assert said.finish == "stop"
    assert len(said.tokens) < 40


def test_text_that_may_begin_a_stop_string_waits() -> None:
    stops = Stops(("END", "<<>>"))
    assert [stops.push(text) for text in ("a E", "N", "x <", "<>", "> b")] == [
        ("a ", False),
        ("", False),
        ("ENx ", False),
        ("", False),
        ("", True),
    ]
    stops = Stops(("abcabd",))
    assert stops.push("abcabc") == ("abc", False)  # its end begins the string anew
    assert stops.push("abd")[1]
    stops = Stops(("END",))
    assert stops.push("E") == ("", False)
    assert stops.push("", last=True) == ("E", False)


def byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_characters_come_whole_when_each_byte_is_a_token() -> None:
    tokenizer = byte_tokenizer()
    text = "naïve Größe, 東京 👩‍🚀 done"
    ids = tokenizer.encode(text).ids
    assert len(ids) > len(text)
    reader = Reader(tokenizer, [])
    pieces = [reader.push([token]) for token in ids]
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    broken = Reader(tokenizer, [])
    assert broken.push(tokenizer.encode("é").ids[:1]) == ""
    assert broken.push([], last=True) == "\N{REPLACEMENT CHARACTER}"


async def test_the_context_ends_a_text(tiny: LanguageModel) -> None:
    async with running(tiny, context=64) as engine:
        said = await ask(engine, Request([5] * 50, max_tokens=None, min_tokens=100))
        assert said.finish == "length"
        assert said.usage.total_tokens == 64
        with pytest.raises(TooLong, match=r"64 tokens.*holds 64"):
            engine.submit(Request([5] * 64))
        with pytest.raises(TooLong):
            engine.submit(Request([]))


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": 3.0}, {"top_p": 0.0}, {"stop": ("",)}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_numbers_out_of_range_are_refused(tiny: LanguageModel, wrong: dict[str, Any]) -> None:
    async with running(tiny) as engine:
        with pytest.raises(BadRequest):
            engine.submit(Request(PROMPT, **wrong))
        with pytest.raises(BadRequest):
            engine.submit(Request([1, 259]))
        with pytest.raises(NoAdapter):
            engine.submit(Request(PROMPT, adapter="none-such"))


async def test_a_full_queue_refuses_at_once_and_a_cancelled_request_makes_room(tiny: LanguageModel) -> None:
    long = Request(PROMPT, max_tokens=400, min_tokens=400)
    async with running(tiny, slots=1, waiting=1) as engine:
        first, second = engine.submit(long), engine.submit(long)
        await anext(first)
        with pytest.raises(Full):
            engine.submit(long)
        await first.aclose()
        third = engine.submit(Request(PROMPT, max_tokens=3))
        await anext(second)  # has the slot that was freed
        second.cancel()
        assert [piece.finish_reason async for piece in third][-1] == "length"
        stats = engine.stats()
        assert (stats.refused, stats.cancelled, stats.finished, stats.running) == (1, 2, 1, 0)
        with pytest.raises(StopAsyncIteration):
            await anext(first)


async def test_closing_ends_what_is_in_flight(tiny: LanguageModel) -> None:
    engine = Engine(tiny, slots=1)
    with pytest.raises(Stopped):
        engine.submit(Request(PROMPT))
    await engine.start()
    await engine.start()  # again does nothing
    streams = [engine.submit(Request(PROMPT, max_tokens=400, min_tokens=400)) for _ in range(2)]
    await anext(streams[0])
    await engine.close()
    for stream in streams:
        with pytest.raises(Stopped):
            async for _ in stream:
                pass
    with pytest.raises(Stopped):
        engine.submit(Request(PROMPT))
    assert not [thread for thread in threading.enumerate() if thread.name == "serving"]


async def test_a_failing_pass_ends_its_requests_and_the_engine_goes_on(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tiny) as engine:
        forward = engine._llama.forward

        def fail(*_: object) -> torch.Tensor:
            monkeypatch.setattr(engine._llama, "forward", forward)
            raise RuntimeError("out of memory")

        expected = await ask(engine, Request(PROMPT, max_tokens=5))
        monkeypatch.setattr(engine._llama, "forward", fail)
        with pytest.raises(Stopped, match="can be sent again"):
            await ask(engine, Request(PROMPT, max_tokens=5))
        assert (await ask(engine, Request(PROMPT, max_tokens=5))).tokens == expected.tokens


async def test_another_family_is_refused_by_name(tiny: LanguageModel) -> None:
    tiny.model.config.model_type = "gpt2"
    with pytest.raises(SettingsError, match="gpt2"):
        await Engine(tiny).start()


async def test_smollm2_answers_as_under_transformers(smollm2_home: Path) -> None:
    model = load(home=smollm2_home)

    def prompt(question: str) -> list[int]:
        message = [{"role": "user", "content": question}]
        ids: list[int] = model.tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
        return ids

    questions = ("What is the capital of France?", "Name two colours.")
    expected = [generate(model.model, prompt(question), 12) for question in questions]
    async with running(model, slots=2, context=256) as engine:
        said = await asyncio.gather(*(ask(engine, Request(prompt(q), max_tokens=12)) for q in questions))
    assert [s.tokens for s in said] == expected
    assert said[0].text == "The capital of France is Paris."
    with contextlib.suppress(StopAsyncIteration):
        assert said[0].finish == "stop"
