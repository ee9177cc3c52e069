"""What ``bench.gpu`` measures of serving: the engine under load beside ``generate``, and the forms of the weights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.gpu_training import free, now
from bench.serving_measure import ask, generate, load_test, passages, prompts
from workers.language_model import LanguageModel, load
from workers.serving import quantising
from workers.serving.engine import Engine, Quantisation

SLOTS = 64
CLIENTS = (1, 8, 32, 64)
TOKENS = 64  # of an answer
ALONE = 4  # answers of ``generate``
FORMS: tuple[tuple[str, Quantisation], ...] = (("bfloat16", "none"), ("4bit", "4bit"))


async def load_steps(model: Path, done: Callable[[Any], None]) -> dict[str, Any]:
    """Tokens a second and times to the first token for so many clients, each of whom asks again at once. All prompts
    are different: passages to be summed up, about 200 tokens. Graphs are recorded before, as they are in a server that
    has run for a minute; ``plain`` is the engine without them."""
    texts = passages(1_000)
    base = load(model)
    asked = prompts(base, [f"Summarise in one sentence:\n{text}" for text in texts])
    found: dict[str, Any] = {"prompt tokens": sum(map(len, asked)) / len(asked), "tokens": TOKENS}
    found["generate"] = await asyncio.to_thread(_alone, base, asked[-ALONE - 1 :])
    done(found)
    for name, graphs in (("graphs", True), ("plain", False)):
        engine = Engine(base if graphs else load(model), slots=SLOTS, waiting=SLOTS)
        await engine.start()
        engine._batch.graphs.usable = graphs
        if graphs:
            found["seconds of recording"] = await _recorded(engine, asked[-2 * SLOTS :])
        else:
            await ask(engine, asked[-1], 4)
        found[name], place = [], 0
        for clients in CLIENTS if graphs else (CLIENTS[0], CLIENTS[-1]):
            count = min(6 * clients, 160) if clients > 1 else 8
            some = asked[place : place + count]
            place += count
            found[name].append(await load_test(engine, some, clients, TOKENS))
            done(found)
        stats = engine.stats()
        found[f"{name}, rows a pass"] = stats.step_rows / stats.steps
        await engine.close()
        del engine
        free()
    return found


async def _recorded(engine: Engine, asked: Sequence[list[int]]) -> float:
    """Seconds until passes of every number of clients have been seen."""
    began = time.perf_counter()
    for clients in (1, 2, 4, 8, 16, 32, 64):
        await asyncio.gather(*(ask(engine, prompt, TOKENS) for prompt in asked[:clients]))
    return time.perf_counter() - began


def _alone(model: LanguageModel, asked: Sequence[list[int]]) -> float:
    """Tokens a second of transformers' ``generate``, one answer after the other; the first is not counted."""
    generate(model, asked[0], TOKENS)
    began = now()
    for prompt in asked[1:]:
        generate(model, prompt, TOKENS)
    return TOKENS * (len(asked) - 1) / (now() - began)


async def forms(model: Path, done: Callable[[Any], None]) -> list[dict[str, Any]]:
    """Memory, perplexity and speed of each form of the weights."""
    texts = passages(220)
    found: list[dict[str, Any]] = []
    for name, quantisation in FORMS:
        free()
        before = torch.cuda.memory_allocated()
        base = load(model)
        ids = base.tokenizer("\n\n".join(texts[120:220]), verbose=False)["input_ids"][:16_384]
        asked = prompts(base, [f"Summarise in one sentence:\n{text}" for text in texts[:SLOTS]])
        llama = quantising.prepare(base.model, 2_048, quantisation)
        del base
        free()
        row: dict[str, Any] = {"form": name, "bytes": torch.cuda.memory_allocated() - before, "counted": llama.bytes}
        row["perplexity"] = quantising.perplexity(llama, ids)
        del llama
        engine = Engine(load(model), slots=SLOTS, quantisation=quantisation)
        await engine.start()
        for clients in (1, SLOTS):
            await asyncio.gather(*(ask(engine, prompt, TOKENS) for prompt in asked[:clients]))
            began = time.perf_counter()
            await asyncio.gather(*(ask(engine, prompt, TOKENS) for prompt in asked[:clients]))
            row[f"tokens/s, {clients}"] = clients * TOKENS / (time.perf_counter() - began)
        await engine.close()
        del engine
        found.append(row)
        done(found)
    return found
