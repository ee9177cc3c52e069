"""What other documents keep for one, as far as it can be told before it is written; and those to be prepared again.

The word that counts is the writer's (``assistant.database.blocks``), which knows all that was written before: where
this guess was wrong, the document is marked, and prepared again at the end of the sync.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import blocks
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.knowledge.boilerplate import MINIMUM, left_out
from workers.ingestion.sources.port import Changes, Cursor, Entry, Source

PAGE = 100
_NEW = 2**62  # past every document's id: those that have none yet come last, in their order


class Sharing:
    """What is common in the index, and what is on its way there: only that is kept in memory. A text that the index
    holds less often, and that becomes common while the documents are on their way, is the writer's to see."""

    def __init__(self, sessions: Sessions, source_id: int) -> None:
        self._sessions = sessions
        self._source_id = source_id
        self._coming: dict[str, tuple[int, frozenset[int]]] = {}  # external id -> its id or place, and its keys
        self._holders: dict[int, set[int]] = {}
        self._common: dict[int, list[int]] | None = None  # what so many hold that one more may have it kept for it
        self._place = _NEW

    async def left_out(self, external_id: str, document_id: int | None, keys: frozenset[int]) -> frozenset[int]:
        """The keys to cut the document without."""
        if not keys:
            return frozenset()
        self.settled(external_id)
        self._place += 1
        mine = document_id if document_id is not None else self._place
        self._coming[external_id] = (mine, keys)
        for key in keys:
            self._holders.setdefault(key, set()).add(mine)
        if self._common is None:
            async with self._sessions() as session:
                self._common = await blocks.common(session, self._source_id)
        common = self._common
        holders = {key: sorted({*common.get(key, ()), *self._holders.get(key, ()), mine}) for key in keys}
        return frozenset(left_out(mine, keys, holders))

    def learn(self, holders: Mapping[int, Sequence[int]]) -> None:
        """What the writer has seen: who holds each of these keys now."""
        if self._common is None:
            return
        for key, some in holders.items():
            if len(some) >= MINIMUM - 1:
                self._common[key] = list(some[:MINIMUM])
            else:
                self._common.pop(key, None)

    def settled(self, external_id: str) -> None:
        """It is written, or will not be."""
        mine, keys = self._coming.pop(external_id, (0, frozenset()))
        for key in keys:
            here = self._holders[key]
            here.discard(mine)
            if not here:
                del self._holders[key]


class Marked:
    """The marked documents of a source. One that the source does not have now keeps its mark, and its chunks."""

    def __init__(self, source: Source, sessions: Sessions, source_id: int, untried: bool) -> None:
        self._source = source
        self._sessions = sessions
        self._source_id = source_id
        self._untried = untried

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        after = cursor["after"] if cursor else 0
        async with self._sessions() as session:
            page = await blocks.marked(session, self._source_id, after, PAGE, self._untried)
        entries = [entry for _, external_id in page if (entry := await self.find(external_id)) is not None]
        ids: Collection[int] = [document_id for document_id, _ in page]

        async def settle(session: AsyncSession) -> None:
            await blocks.tried(session, list(ids))

        more = len(page) == PAGE
        return Changes(entries, cursor={"after": page[-1][0]} if more else None, more=more, settle=settle)

    async def find(self, external_id: str) -> Entry | None:
        try:
            return await self._source.find(external_id)
        except AlmanacError:
            return None
