"""Knowledge gaps, put together again at every look, without embedding a question twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from assistant.answering.gaps import Gap, gaps
from assistant.database import insights
from assistant.database.insights import Unanswered
from assistant.database.session import Sessions
from assistant.knowledge.embedding import Embedder, Vectors

MOST = 500  # questions, the newest
KEPT = 4 * MOST  # vectors that are kept: 3 MB


class Remembering:
    """An embedder that keeps the vectors of what it embedded last. A change of the model empties it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._model = ""
        self._kept: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, (n, dimensions)."""
        if self._model != self._embedder.name:
            self._model, self._kept = self._embedder.name, OrderedDict()
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept.update(zip(new, await self._embedder.embed(new), strict=True))
        found = np.stack([self._kept[text] for text in texts])
        for text in texts:
            self._kept.move_to_end(text)
        while len(self._kept) > max(KEPT, len(texts)):
            self._kept.popitem(last=False)
        return found

    async def embed_query(self, text: str) -> Vectors:
        return await self._embedder.embed_query(text)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return self._embedder.count_tokens(texts)

    async def close(self) -> None:
        """The embedder is another's to close."""


class Gaps:
    """The questions of a span that the documents left open."""

    def __init__(self, sessions: Sessions, embedder: Embedder) -> None:
        self._sessions = sessions
        self._embedder = Remembering(embedder)

    async def since(self, since: datetime) -> tuple[list[Unanswered], list[Gap]]:
        async with self._sessions() as session:
            open_questions = await insights.unanswered(session, since, MOST)
        return open_questions, await gaps(self._embedder, open_questions)
