"""What ``bench.serving`` measures, one function for each question."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.places import DATA
from workers.language_model import LanguageModel, load
from workers.serving import quantising
from workers.serving.engine import Engine
from workers.serving.requests import Request, Usage

BLOCKS = 3  # of each arm, in turn
SLOTS = 8
QUESTIONS = (
    "What does a database index do, and when does it slow things down?",
    "Explain to a new colleague how a rolling deployment works.",
    "Which steps would you take when a service answers slowly?",
    "Write a short note that tells the team about tonight's maintenance.",
    "What is the difference between a queue and a log?",
    "Why are secrets kept out of the repository?",
    "Describe how a cache can give a wrong answer.",
    "What belongs in a report about an outage?",
)


@dataclass(frozen=True, slots=True)
class Said:
    tokens: list[int]
    usage: Usage


def passages(count: int, low: int = 500, high: int = 900) -> list[str]:
    """Of ``low`` to ``high`` characters, every one of another document."""
    found: dict[str, str] = {}
    with (DATA / "mtrag_cloud" / "corpus.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            if low <= len(row["text"]) <= high:
                found.setdefault(row["id"].rsplit("-", 2)[0], row["text"])
            if len(found) == count:
                break
    return list(found.values())


def prompts(model: LanguageModel, texts: Sequence[str], system: str = "You answer briefly.") -> list[list[int]]:
    return [
        model.tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, {"role": "user", "content": text}], add_generation_prompt=True
        )["input_ids"]
        for text in texts
    ]


async def ask(engine: Engine, prompt: list[int], count: int, adapter: str | None = None) -> Said:
    """``count`` tokens, neither more nor fewer."""
    tokens: list[int] = []
    usage = None
    request = Request(prompt, max_tokens=count, min_tokens=count, adapter=adapter)
    async with contextlib.aclosing(engine.submit(request)) as pieces:
        async for piece in pieces:
            tokens += piece.token_ids
            usage = piece.usage or usage
    assert usage is not None
    return Said(tokens, usage)


def generate(model: LanguageModel, prompt: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        made = model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            pad_token_id=model.tokenizer.pad_token_id,
        )
    tokens: list[int] = made[0, len(prompt) :].tolist()
    return tokens


async def throughput(dtype: torch.dtype, count: int) -> dict[str, Any]:
    """Eight requests at once through the engine, and one after the other through transformers, block by block."""
    model = load(dtype=dtype)
    asked = prompts(model, QUESTIONS)
    engine = Engine(model, slots=SLOTS, prefix_bytes=0)
    await engine.start()
    await ask(engine, asked[0], 4)
    generate(model, asked[0], 4)
    ours, theirs, same = [], [], 0
    for _ in range(BLOCKS):
        began = time.perf_counter()
        sequential = [await asyncio.to_thread(generate, model, prompt, count) for prompt in asked]
        theirs.append(len(asked) * count / (time.perf_counter() - began))
        began = time.perf_counter()
        said = await asyncio.gather(*(ask(engine, prompt, count) for prompt in asked))
        ours.append(len(asked) * count / (time.perf_counter() - began))
        same = sum(one.tokens == other for one, other in zip(said, sequential, strict=True))
    began = time.perf_counter()
    for prompt in asked:
        await ask(engine, prompt, count)
    alone = len(asked) * count / (time.perf_counter() - began)
    await engine.close()
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "engine": ours,
        "generate": theirs,
        "engine, one at a time": alone,
        "ratio": statistics.median(ratios),
        "lowest ratio": min(ratios),
        "same texts": f"{same} of {len(asked)}",
        "prompt tokens": sum(map(len, asked)) / len(asked),
        "tokens": count,
    }


async def load_test(engine: Engine, asked: Sequence[list[int]], clients: int, count: int) -> dict[str, float]:
    """Clients that each ask again as soon as they are answered."""
    queue = iter(asked)
    said: list[Said] = []

    async def client() -> None:
        for prompt in queue:
            said.append(await ask(engine, prompt, count))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    firsts = sorted(one.usage.first_token for one in said)
    later = [(one.usage.total - one.usage.first_token) / (count - 1) for one in said]
    return {
        "clients": clients,
        "requests": len(said),
        "first p50": quantile(firsts, 0.5),
        "first p95": quantile(firsts, 0.95),
        "between tokens p50": statistics.median(later),
        "tokens/s": len(said) * count / seconds,
    }


async def under_load(dtype: torch.dtype, texts: Sequence[str], count: int) -> list[dict[str, float]]:
    """``texts``: passages that are asked about, all different; 8 slots, 1, 8 and 16 clients."""
    model = load(dtype=dtype)
    asked = prompts(model, [f"Summarise in one sentence:\n{text}" for text in texts])
    engine = Engine(model, slots=SLOTS)
    await engine.start()
    await ask(engine, asked[0][:20], 4)
    results = []
    share = len(asked) // 5
    for clients, part in ((1, asked[:share]), (8, asked[share : 3 * share]), (16, asked[3 * share :])):
        result = await load_test(engine, part, clients, count)
        results.append(result | {"prompt tokens": sum(map(len, part)) / len(part)})
    await engine.close()
    return results


async def prefixes(dtype: torch.dtype, system: str, count: int) -> dict[str, Any]:
    """Eight questions under one long system prompt, at once: with the prefix cache and without, in turn."""
    model = load(dtype=dtype)
    asked = prompts(model, QUESTIONS, system)
    times: dict[str, list[float]] = {"with": [], "without": []}
    firsts: dict[str, list[float]] = {"with": [], "without": []}
    tokens: dict[str, list[list[int]]] = {}
    cached = 0
    for _ in range(BLOCKS):
        for arm, limit in (("without", 0), ("with", 256 * 2**20)):
            engine = Engine(model, slots=SLOTS, prefix_bytes=limit)
            await engine.start()
            began = time.perf_counter()
            said = await asyncio.gather(*(ask(engine, prompt, count) for prompt in asked))
            times[arm].append(time.perf_counter() - began)
            firsts[arm].append(statistics.median(one.usage.first_token for one in said))
            tokens[arm] = [one.tokens for one in said]
            cached = engine.stats().cached_tokens
            await engine.close()
            del engine
    same = sum(one == other for one, other in zip(tokens["with"], tokens["without"], strict=True))
    return {
        "prompt tokens": sum(map(len, asked)) / len(asked),
        "cached share": cached / sum(map(len, asked)),
        "seconds": {arm: statistics.median(some) for arm, some in times.items()},
        "first token": {arm: statistics.median(some) for arm, some in firsts.items()},
        "same texts": f"{same} of {len(asked)}",
    }


async def swaps(dtype: torch.dtype, folders: Sequence[Path], count: int, rounds: int) -> dict[str, Any]:
    """Eight clients ask for one name while the adapter behind it is replaced again and again."""
    model = load(dtype=dtype)
    asked = prompts(model, QUESTIONS)
    engine = Engine(model, slots=SLOTS)
    await engine.start()
    await engine.load_adapter("ours", folders[0])
    answered, failed, seconds, done = 0, 0, [], asyncio.Event()

    async def client(prompt: list[int]) -> None:
        nonlocal answered, failed
        while not done.is_set():
            try:
                said = await ask(engine, prompt, count, "ours")
                answered, failed = answered + (len(said.tokens) == count), failed + (len(said.tokens) != count)
            except Exception:
                failed += 1

    clients = [asyncio.create_task(client(prompt)) for prompt in asked]
    for number in range(rounds):
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        await engine.load_adapter("ours", folders[(number + 1) % len(folders)])
        seconds.append(time.perf_counter() - began)
    await asyncio.sleep(1.0)
    done.set()
    await asyncio.gather(*clients)
    await engine.close()
    return {"swaps": rounds, "answered": answered, "dropped": failed, "seconds to swap": statistics.median(seconds)}


def adapter(model: LanguageModel, folder: Path, seed: int) -> Path:
    """A LoRA over every linear layer, with random factors."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft uses a name that transformers deprecates
        adapted = get_peft_model(model.model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    adapted.save_pretrained(folder)
    return folder


async def forms(ids: Sequence[int], count: int) -> Iterator[dict[str, Any]]:
    """Size, perplexity and speed of each form of the weights; the speeds in turn, the best block of each."""
    arms = (("float32", torch.float32, "none"), ("bfloat16", torch.bfloat16, "none"), ("int8", torch.bfloat16, "int8"))
    results: dict[str, dict[str, Any]] = {name: {"form": name} for name, *_ in arms}
    for block in range(BLOCKS):
        for name, dtype, quantisation in arms:
            model = load(dtype=dtype)
            engine = Engine(model, slots=SLOTS, quantisation=quantisation, prefix_bytes=0)  # type: ignore[arg-type]
            await engine.start()
            asked = prompts(model, QUESTIONS)
            await ask(engine, asked[0], 4)
            for rows in (1, SLOTS):
                began = time.perf_counter()
                await asyncio.gather(*(ask(engine, prompt, count) for prompt in asked[:rows]))
                results[name].setdefault(f"tokens/s, {rows}", []).append(rows * count / (time.perf_counter() - began))
            if block == 0:
                results[name]["bytes"] = engine.stats().model_bytes
                results[name]["perplexity"] = quantising.perplexity(engine._llama, ids)
            await engine.close()
            del model, engine
            gc.collect()  # transformers' models are in cycles
    return iter(results.values())


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values, the nearest rank."""
    return values[min(int(share * len(values)), len(values) - 1)]
