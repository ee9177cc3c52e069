"""The token vectors of passages: one table beside each model's vectors, from which a row goes with the vector's.

A passage may lack its own (an index that was made before there were any, ``ALMANAC_TOKEN_VECTORS=0``): it is found and
ranked without.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

if TYPE_CHECKING:
    from assistant.database.vectors import Model


async def make(session: AsyncSession, model: Model) -> None:
    """The table of a model that has its vectors' already; readers see it by row."""
    await session.execute(model.sql("SELECT make_tokens(:id)"), {"id": model.id})


async def missing(session: AsyncSession, model: Model, hashes: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those of ``hashes`` whose tokens the model has no vectors of, in order."""
    statement = model.sql("SELECT text_hash FROM @TOKENS WHERE text_hash = ANY(:hashes)")
    known = set((await session.execute(statement, {"hashes": list(hashes)})).scalars())
    return [text_hash for text_hash in hashes if text_hash not in known]


async def write(session: AsyncSession, model: Model, hashes: Sequence[uuid.UUID], tokens: Sequence[bytes]) -> None:
    """Store what ``assistant.knowledge.token_vectors.packed`` made; what is there stays, and what has no vector (any
    more) is passed over."""
    await session.execute(model.sql(_WRITE), {"hashes": list(hashes), "tokens": list(tokens)})


# In one order everywhere, as the vectors are, so that two writers of the same texts wait for each other.
_WRITE = """
    INSERT INTO @TOKENS
    SELECT n.text_hash, n.tokens
    FROM unnest(CAST(:hashes AS uuid[]), CAST(:tokens AS bytea[])) AS n(text_hash, tokens)
         JOIN @VECTORS v USING (text_hash)
    ORDER BY n.text_hash FOR KEY SHARE OF v
    ON CONFLICT DO NOTHING"""


async def count(session: AsyncSession, model: Model) -> int:
    return int((await session.execute(model.sql("SELECT count(*) FROM @TOKENS"))).scalar_one())
