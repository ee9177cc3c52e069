"""What tests of sources and syncs share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assistant.database.session import Sessions
from tests.ingestion.source_station import Station, station


@pytest.fixture
async def desk(database_url: str, sessions: Sessions, tmp_path: Path) -> AsyncIterator[Station]:
    async with station(database_url, sessions, tmp_path / "home") as desk:
        yield desk
