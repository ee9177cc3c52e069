"""Vectors of sentences that come again: those of the passages that answers are made of and checked against, and the
questions that the documents left open.

The passages that people ask about are few beside all that are kept, and each is cut into the same sentences for every
question. Embedding them anew was most of what an answer cost.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from assistant.knowledge.embedder_port import Embedder, Vectors
from assistant.knowledge.token_vectors import Halves

KEPT = 32_768  # sentences; 768 bytes each of 384 dimensions


class SentenceVectors:
    """Keeps the newest ``most`` of one model, in half precision; those of another model replace them all. Texts are
    known by their hash, so that none stays in memory. For one event loop."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._model: Embedder | None = None
        self._kept: OrderedDict[bytes, Halves] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, texts: Sequence[str], model: Embedder) -> Vectors:
        """The vector of each text as ``model`` embeds passages, shape (texts, dimensions), of length 1."""
        if not texts:
            return np.zeros((0, model.dimensions), dtype=np.float32)
        if model is not self._model:
            self._model, self._kept = model, OrderedDict()
        kept, keys = self._kept, [_key(text) for text in texts]
        known = {key: kept[key] for key in keys if key in kept}
        if len(known) < len(set(keys)):
            async with self._making:  # many who ask the same at once: all but the first find it here
                known.update((key, kept[key]) for key in keys if key in kept)
                missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
                if missing:
                    made = (await model.embed(list(missing.values()))).astype(np.float16)
                    known.update((key, row.copy()) for key, row in zip(missing, made, strict=True))  # no views
        for key in dict.fromkeys(keys):
            kept[key] = known[key]
            kept.move_to_end(key)
        while len(kept) > self._most:
            kept.popitem(last=False)
        return np.stack([known[key] for key in keys]).astype(np.float32)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
