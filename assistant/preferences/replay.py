"""A voted question is searched for once more, as its answer's readers, without what was learned from votes.

So a vote counts only over passages that these people may read now; what was deleted, or taken from them, is not found;
and what was cut or embedded anew is known again by its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.database import groups
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import FilterError, from_arguments
from assistant.knowledge.first_look import shown_as
from assistant.knowledge.ranking import FIRST
from assistant.knowledge.search import Hit, Searcher
from assistant.preferences.features import Asked, Shown
from assistant.preferences.memory import content_key
from assistant.preferences.pairs import Place
from assistant.preferences.sketch import Hashes, shingles
from assistant.preferences.sketch import share as shared

SAME = 0.5  # of a passage that stands in another: so much is the same passage, cut otherwise
SHOWN = 10  # the model was given, where an answer does not say

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Replay:
    """What is found for a question now: passages by their keys, in the ranking's order."""

    asked: Asked
    shown: Mapping[str, Shown]
    hits: Mapping[str, Hit]

    @property
    def scores(self) -> Floats:
        """The ranking's own, shape (passages,)."""
        return np.array([one.score for one in self.shown.values()])


class Replayer:
    """Searches anew. ``searcher``: without what was learned; ``sessions``: for who is in which group."""

    def __init__(self, searcher: Searcher, sessions: Sessions) -> None:
        self._searcher = searcher.ranked(searcher.ranking)
        self._sessions = sessions

    async def replay(self, question: str, readers: Sequence[str], searched: Mapping[str, Any] | None) -> Replay | None:
        """None where nothing is found any more."""
        searched = searched or {}
        query = str(searched.get("query") or question)
        try:
            filters = from_arguments(searched.get("filters") or {})
            async with self._sessions() as session:
                audience = await groups.with_groups(session, _as_of_now(readers))
            found = await self._searcher.search(
                query, audience=audience, limit=FIRST, sources=searched.get("sources") or (), filters=filters
            )
        except FilterError:  # its source is gone
            return None
        hits: dict[str, Hit] = {}
        for hit in found.hits:
            if hit.look is not None:
                hits.setdefault(content_key(hit.text), hit)
        if found.vector is None or len(hits) < 2:
            return None
        shown = {key: shown_as(hit, hit.cosine, hit.bm25, hit.look) for key, hit in hits.items() if hit.look}
        return Replay(Asked(query, found.vector, found.term_weights), shown, hits)


def _as_of_now(readers: Sequence[str]) -> Audience:
    """Without the groups that somebody was in then: those of now are looked up."""
    audience = Audience(frozenset(readers))
    if not audience.may_be_in_groups:
        return audience
    return Audience(frozenset(name for name in readers if not name.startswith("group:")))


def places(retrieval: Sequence[Mapping[str, Any]], cited: Sequence[int], replay: Replay) -> list[Place]:
    """Where the passages that are found now stood when the vote was cast, as they are known now; ``cited``: chunks.

    One that is not found any more is left out; of several that are one now, the one that was cited counts.
    """
    by_chunk = {hit.chunk_id: key for key, hit in replay.hits.items()}
    cut: dict[str, Hashes] = {}
    found: dict[str, Place] = {}
    for kept in sorted(retrieval, key=lambda one: (int(one["chunk_id"]) not in cited, one["rank"])):
        key = _known_as(kept, by_chunk, cut, replay)
        if key is not None and key not in found:
            rank, is_cited = int(kept["rank"]), int(kept["chunk_id"]) in cited
            found[key] = Place(key, rank, is_cited or bool(kept.get("shown", rank <= SHOWN)), is_cited)
    return sorted(found.values(), key=lambda place: place.rank)


def _known_as(
    kept: Mapping[str, Any], by_chunk: Mapping[int, str], cut: dict[str, Hashes], replay: Replay
) -> str | None:
    """The key of the passage that this one is now: the same words, or of its document the one that holds most of it."""
    key = kept.get("key")
    if key is None:  # kept before passages had keys: a chunk never changes its words
        return by_chunk.get(int(kept["chunk_id"]))
    if key in replay.hits:
        return str(key)
    best, most = None, SAME
    for other, hit in replay.hits.items():
        if hit.external_id == kept.get("external_id"):
            if other not in cut:
                cut[other] = shingles(hit.text)
            held = shared(str(kept.get("sketch") or ""), cut[other])
            if held >= most:
                best, most = other, held + 1e-9
    return best
