"""What tests of the core share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assistant.database.session import Sessions, create_reading_engine, create_sessions


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Sessions]:
    """Sessions as the reader's role, which sees what was admitted."""
    engine = create_reading_engine(database_url)
    yield create_sessions(engine)
    await engine.dispose()
