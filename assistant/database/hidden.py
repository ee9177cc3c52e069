"""How much is hidden: a number, and nothing else of what an audience may not read."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.errors import UndefinedFunction
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import admit
from assistant.database.vectors import Model
from assistant.knowledge.audience import Audience

BEST = 10  # passages that somebody would be answered from who may read all
SEVERAL = 6  # documents; how many more there are is nobody's business

_COUNT = """
    SELECT @VECTORS_hidden(CAST(:vector AS halfvec), CAST(:farthest AS float8), CAST(:best AS integer),
                           CAST(:sources AS bigint[]), CAST(:most AS integer))"""


async def count(
    session: AsyncSession,
    model: Model,
    vector: str,
    audience: Audience,
    least_cosine: float,
    sources: Sequence[int] = (),
) -> int:
    """Documents hidden from ``audience`` among those of the best passages for a question (its ``vector`` in pgvector's
    text form) that are at least as near as ``least_cosine``; at most ``SEVERAL``."""
    await admit(session, audience)
    parameters = {
        "vector": vector, "farthest": 1 - least_cosine, "best": BEST, "sources": list(sources) or None, "most": SEVERAL,
    }  # fmt: skip
    try:
        return int((await session.execute(model.sql(_COUNT), parameters)).scalar_one())
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedFunction):
            raise
        return 0  # the model was dropped in this very moment
