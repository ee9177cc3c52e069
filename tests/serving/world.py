"""What the engine's tests share: a small model, and asking it to the end."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workers.language_model import LanguageModel
from workers.serving.engine import Engine
from workers.serving.requests import Piece, Request, Usage


@dataclass(frozen=True)
class Said:
    text: str
    tokens: list[int]
    pieces: list[Piece]

    @property
    def usage(self) -> Usage:
        usage = self.pieces[-1].usage
        assert usage is not None
        return usage

    @property
    def finish(self) -> str | None:
        return self.pieces[-1].finish_reason


@contextlib.asynccontextmanager
async def running(model: LanguageModel, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(model, **settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: Engine, request: Request) -> Said:
    async with contextlib.aclosing(engine.submit(request)) as stream:
        pieces = [piece async for piece in stream]
    return Said("".join(p.text for p in pieces), [token for p in pieces for token in p.token_ids], pieces)


def generate(model: Any, prompt: list[int], count: int, *, ends: bool = True) -> list[int]:
    """transformers' own greedy tokens. ``ends``: an end token ends them."""
    ids = torch.tensor([prompt])
    least = {} if ends else {"min_new_tokens": count}
    with torch.no_grad():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, **least)
    tokens: list[int] = made[0, len(prompt) :].tolist()
    return tokens


def save_adapter(model: Any, folder: Path, *, seed: int, modules: Any = "all-linear", **settings: Any) -> Any:
    """A peft adapter with random factors in both of its halves, saved; returns peft's model around a copy of it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=modules, **({"r": 4, "lora_alpha": 12} | settings))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks for a name that transformers deprecates; tied heads are warned of
        adapted = get_peft_model(copy.deepcopy(model), config).eval()
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
        adapted.save_pretrained(folder)
    return adapted
