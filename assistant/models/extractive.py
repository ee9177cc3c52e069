"""No language model at all: the sentences of the passages that answer the question, each with its citation."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from assistant.knowledge.embedding import Embedder
from assistant.models.port import Brief, Written


class ExtractiveModel:
    """Selects, never generates: it can say nothing that the documents do not."""

    name = "extractive"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        best = brief.passages[0]
        text = f"{best.text} [1]"
        yield text
        yield Written(text)

    async def close(self) -> None:
        """Nothing to close."""
