"""A worker of the town: ``python -m tests.preferences.worker RUN`` works off one run as ``workers.execution`` does.

The town's embedder is no model that a worker could load, so that it is put in here; all else is the worker's own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from typing import Any

from assistant.database.session import create_engine, create_sessions
from tests.preferences.town import Town
from workers.execution import execute


class _Slow:
    """Embeds as the town does, and takes its time, so that it can be killed meanwhile."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.name, self.dimensions = embedder.name, embedder.dimensions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def embed_query(self, text: str) -> Any:
        await asyncio.sleep(0.03)
        return await self._embedder.embed_query(text)


async def main(run_id: uuid.UUID) -> None:
    url = os.environ["ALMANAC_DATABASE_URL"]
    engine = create_engine(url)
    town = Town(create_sessions(engine), url)
    town.searcher._embedder = _Slow(town.embedder)
    await execute(town, run_id)  # type: ignore[arg-type]
    await town.close()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(uuid.UUID(sys.argv[1])))
