"""What the arms of an evaluation read of one question, read once: they differ in what they make of it.

Arms that ask for the same candidates share the statement that finds them, and a passage that one has read, the others
know. Ranking itself, all behind the two statements, is each arm's own, and the code that answers questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.hybrid import Reads, Request
from assistant.database.session import admit
from assistant.database.vectors import Model
from assistant.knowledge.audience import Audience


class Remembered:
    """Of one question, in an index that does not change meanwhile. Calling it gives the reads of one session."""

    def __init__(self) -> None:
        self.named: dict[tuple[Any, ...], Sequence[Any]] = {}
        self.passages: dict[int, Any] = {}
        self.with_tokens: dict[int, Any] = {}

    def __call__(self, session: AsyncSession) -> Reads:
        return _Once(session, self)


class _Once(Reads):
    def __init__(self, session: AsyncSession, known: Remembered) -> None:
        super().__init__(session)
        self._known = known

    async def named(self, model: Model, request: Request) -> Sequence[Any]:
        key = (model.id, *map(tuple, (request.terms, request.boosts)), request.vector, request.candidates,
               request.limit, request.share > 0, request.share < 1)  # fmt: skip
        if key not in self._known.named:
            whole = replace(request, with_vectors=0 < request.share < 1)  # which one of its arms may need
            self._known.named[key] = await super().named(model, whole)
        return self._known.named[key]

    async def passages(
        self, ids: Sequence[int], audience: Audience, tokens_of: Model | None = None
    ) -> Mapping[int, Any]:
        known = self._known.with_tokens if tokens_of else self._known.passages
        if new := [one for one in ids if one not in known]:
            await admit(self.session, audience)  # the statement before may have been another session's
            known.update(await super().passages(new, audience, tokens_of))
            if tokens_of:
                self._known.passages.update({one: known[one] for one in new if one in known})
        return {one: known[one] for one in ids if one in known}
