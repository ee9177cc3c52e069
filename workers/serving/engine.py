"""The engine that serves a language model: continuous batching in one thread, asked from an event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from workers.language_model import LanguageModel
from workers.serving.requests import Pieces, Request, Stats

Quantisation = Literal["none", "int8", "4bit"]


class Engine:
    """Serves one model and its adapters to many requests at once."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        slots: int = 8,
        context: int = 2048,
        quantisation: Quantisation = "none",
        waiting: int = 64,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Start the thread. Idempotent."""
        raise NotImplementedError

    async def close(self) -> None:
        """End running requests with Stopped, and the thread."""
        raise NotImplementedError

    def submit(self, request: Request) -> Pieces:
        """Raises at once: Full, TooLong, BadRequest, NoAdapter, Stopped."""
        raise NotImplementedError

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Read a peft adapter (adapter_config.json, adapter_model.safetensors). Raises AdapterUnusable. A name that is
        loaded already is replaced for new requests; those in flight finish with the old one."""
        raise NotImplementedError

    async def unload_adapter(self, name: str) -> None:
        """New requests may no longer name it; those in flight finish. Raises NoAdapter."""
        raise NotImplementedError

    @property
    def adapters(self) -> tuple[str, ...]:
        raise NotImplementedError

    def stats(self) -> Stats:
        raise NotImplementedError
