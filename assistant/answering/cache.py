"""An answer is given again to the same question, where the same passages are found for it.

It is looked up after the search, so that what decides is what this audience's own search found. An answer is reused
where all of this holds:

- the question has the same kind and words (``assistant.answering.likeness``), and its vector is near (``NEAR``);
- it is asked for in the same manner: model, prompt, persona, language, filters, sources, embedding model, and the
  version of what was learned from votes;
- every passage that the model had then was found now, for this audience, with the same text: so the audience may read
  all of it, and no document behind it has changed or gone;
- the first passages found now were all among those that the model had: nothing new or better is left out;
- nobody voted it down or took its question back, and it is not older than ALMANAC_CACHE_HOURS.

Not kept: private answers, those with calls of tools, those to conversations or about today, and all but ``answered``.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering.likeness import likeness
from assistant.answering.messages import NOTHING_USED, Answer, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.prompts import AGENT, messages
from assistant.database import cached
from assistant.database.cached import Entry
from assistant.database.session import Sessions, each_alone
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.filters import NO_FILTERS, Filters
from assistant.knowledge.search import Hit
from assistant.models.port import Brief
from assistant.settings import Settings
from assistant.telemetry import Metrics

log = structlog.get_logger()

NEAR = 0.9  # cosine; below it, one in twenty paraphrases is lost (bench/cache.py)
FIRST = 5  # of the passages found now, those that the model must have had
# What is true today need not be tomorrow, whatever the documents say.
_TODAY = re.compile(
    r"\b(?:now|today|tonight|tomorrow|yesterday|current(?:ly)?|latest|(?:this|next|last) (?:week|month|year|quarter|"
    r"morning|afternoon|evening|night)|heute|jetzt|gerade|morgen|gestern|aktuell\w*|aujourd'hui|maintenant|demain|hier|"
    r"actuel\w*|hoy|ahora|mañana|ayer|actual\w*)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer is asked for, beside the question's words. ``language`` is that of the answer, ``form`` names the
    format that it must have, where one was asked for; ``preferences`` is the version that ordered the passages."""

    language: str
    filters: Filters = NO_FILTERS
    in_conversation: bool = False
    form: str = ""
    model: str = ""  # the version that answers; empty: the settings' model
    preferences: int | None = None


class AnswerCache:
    """Looks up and keeps. ``passages`` is how many passages the model is given. Never fails: it finds nothing then."""

    def __init__(
        self, sessions: Sessions, embedder: Embedder, settings: Settings, metrics: Metrics, *, model: str, passages: int
    ) -> None:
        self._sessions = sessions
        self._statements = each_alone(sessions)
        self._embedder = embedder
        self._metrics = metrics
        self._model = model
        self._passages = passages
        self._age = timedelta(hours=settings.cache_hours)

    async def find(
        self, question: Question, query: str, hits: Sequence[Hit], manner: Manner, answer_id: uuid.UUID
    ) -> Answer | None:
        """An earlier answer to the same question, as the answer ``answer_id``. ``hits`` is all that was found."""
        if not self._may_be(question, query, manner) or question.replaces is not None:
            return None
        try:
            found = await self._find(question, query, hits, manner, answer_id)
        except (SQLAlchemyError, OSError) as error:
            log.warning("cache.away", error=type(error).__name__)
            return None
        self._metrics.cache_lookups.labels("miss" if found is None else "hit").inc()
        return found

    async def keep(self, question: Question, query: str, hits: Sequence[Hit], manner: Manner, answer: Answer) -> bool:
        """Keep an answer that has been stored, if it may be given again; False: not kept."""
        plain = answer.outcome is Outcome.ANSWERED and not (answer.private or answer.calls or answer.approvals)
        if not plain or not answer.citations or not self._may_be(question, query, manner):
            return False
        seen = {str(hit.chunk_id): _read(hit) for hit in hits[: self._passages]}
        if not {str(citation.chunk_id) for citation in answer.citations} <= set(seen):
            return False
        try:
            embedder = pinned(self._embedder)
            vector = np.asarray(await embedder.embed_query(query), np.float16).tobytes()
            key = self._key(question, query, manner, embedder.name)
            async with self._statements() as session:
                await cached.keep(session, Entry(answer.id, seen, vector), key, self._age)
        except (SQLAlchemyError, OSError) as error:
            log.warning("cache.away", error=type(error).__name__)
            return False
        return True

    def _may_be(self, question: Question, query: str, manner: Manner) -> bool:
        return bool(self._age) and not (
            question.unprompted or manner.in_conversation or _TODAY.search(query) or not likeness(query).terms
        )

    async def _find(
        self, question: Question, query: str, hits: Sequence[Hit], manner: Manner, answer_id: uuid.UUID
    ) -> Answer | None:
        embedder = pinned(self._embedder)
        key = self._key(question, query, manner, embedder.name)
        async with self._statements() as session:
            entries = await cached.entries(session, key, self._age)
        if not entries:
            return None
        found = {str(hit.chunk_id): _read(hit) for hit in hits}
        first = {str(hit.chunk_id) for hit in hits[:FIRST]}
        vector = np.asarray(await embedder.embed_query(query), np.float32)
        for entry in entries:
            if same_evidence(entry, found, first) and _cosine(entry, vector) >= NEAR:
                async with self._sessions.begin() as session:
                    stored = await cached.use(session, entry.answer_id, answer_id)
                if stored is not None:
                    return replace(stored.answer, id=answer_id, usage=NOTHING_USED, timings_ms={})
        return None

    def _key(self, question: Question, query: str, manner: Manner, embedding: str) -> uuid.UUID:
        """A hash of all that must be equal."""
        empty = Brief("", "", (), persona=question.persona, language=question.language)
        parts: list[Any] = [
            manner.model or self._model, embedding, self._passages, messages(empty), AGENT, manner.language,
            manner.form, sorted(manner.filters.arguments().items()), sorted(question.sources), likeness(query).key,
            *([] if manner.preferences is None else [manner.preferences]),
        ]  # fmt: skip
        return uuid.UUID(bytes=hashlib.sha256(repr(parts).encode()).digest()[:16])


def same_evidence(entry: Entry, found: dict[str, str], first: set[str]) -> bool:
    """Whether all that the model had is found now with the same text, and the first of what is found is all of that."""
    return bool(entry.seen) and entry.seen.items() <= found.items() and first <= entry.seen.keys()


def _read(hit: Hit) -> str:
    """A hash of what a model reads of a passage."""
    parts = (hit.title, *hit.heading_path, hit.text, hit.link or "")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _cosine(entry: Entry, vector: Any) -> float:
    """Of the entry's question and another's vector; both have length 1."""
    kept = np.frombuffer(entry.vector, np.float16).astype(np.float32)
    return float(kept @ vector) if kept.shape == vector.shape else -1.0
