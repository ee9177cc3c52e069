"""Knowledge gaps, put together again at every look, without embedding a question twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from assistant.answering.gaps import Gap, gaps
from assistant.database import insights
from assistant.database.insights import Unanswered
from assistant.database.session import Sessions
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.knowledge.sentence_vectors import SentenceVectors

MOST = 500  # questions, the newest
KEPT = 4 * MOST  # vectors that are kept: 1.5 MB


class Gaps:
    """The questions of a span that the documents left open."""

    def __init__(self, sessions: Sessions, embedder: Embedder) -> None:
        self._sessions = sessions
        self._embedder = embedder
        self._vectors = SentenceVectors(KEPT)

    async def since(self, since: datetime) -> tuple[list[Unanswered], list[Gap]]:
        async with self._sessions() as session:
            open_questions = await insights.unanswered(session, since, MOST)
        return open_questions, await gaps(self._embed, open_questions)

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        return await self._vectors.of(texts, pinned(self._embedder))
