"""The model server on a real socket, over the real engine and a tiny model of random weights."""

from __future__ import annotations

import asyncio
import json
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.registry import Registry
from tests.finetuning.tiny import save_tiny_model
from workers import language_model
from workers.serving.__main__ import Server
from workers.serving.app import Door, Serving, create_app
from workers.serving.chat import Prompts
from workers.serving.engine import Engine
from workers.serving.published import Published

BASE = "tiny"
KEY = "a key of this test"
CONTEXT = 2_048


def wide(folder: Path) -> Path:
    """A model of bytes that can read ``CONTEXT`` of them."""
    save_tiny_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}))
    return folder


def adapter(model: Path, folder: Path, seed: int) -> Path:
    """A random LoRA of that model, strong enough to change what it says."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about how peft asks it something
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


@dataclass
class Served:
    url: str
    serving: Serving
    door: Door
    client: openai.AsyncOpenAI

    @property
    def engine(self) -> Engine:
        return self.serving.engine

    def sync_client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", max_retries=0, **{"api_key": KEY, **options})

    async def settled(self, seconds: float = 20) -> None:
        """Until nothing runs or waits in the engine."""
        async with asyncio.timeout(seconds):
            while (stats := self.engine.stats()).running or stats.waiting:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def served(
    folder: Path,
    embedder: TransformerEmbedder,
    *,
    key: str | None = KEY,
    registry: Registry | None = None,
    into: Path | None = None,
    context: int = CONTEXT,
    **options: Any,
) -> AsyncIterator[Served]:
    model = language_model.load(folder, device="cpu")
    engine = Engine(model, context=context, **{"slots": 4, "waiting": 16, **options})
    serving = Serving(engine, Prompts(model.tokenizer, context), BASE, embedder, key)
    if registry is not None and into is not None:
        serving.published = Published(engine, registry, BASE, into, serving.metrics, 3_600)  # tests look themselves
    door = create_app(serving)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = Server(uvicorn.Config(door, lifespan="on", log_config=None, access_log=False))
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:
            assert not running.done(), running.result()
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key or "none", max_retries=0)
        try:
            yield Served(url, serving, door, client)
        finally:
            await client.close()
            server.should_exit = True
            await running
