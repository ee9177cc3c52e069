"""Models that are loaded by several threads at once."""

from __future__ import annotations

import asyncio

import pytest
from transformers import PreTrainedModel

from assistant.knowledge.embedding import TransformerEmbedder


async def test_models_loaded_at_the_same_time_leave_transformers_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # else they are found as they were kept
    before = PreTrainedModel.tie_weights
    embedders = [TransformerEmbedder(None, threads=1) for _ in range(8)]  # with four it went well at times
    try:
        await asyncio.gather(*(embedder.load() for embedder in embedders))
        assert PreTrainedModel.tie_weights is before
    finally:
        for embedder in embedders:
            await embedder.close()
