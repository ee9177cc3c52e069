"""SIGKILL for the worker, Valkey and Postgres at random moments: nothing is lost, nothing doubled, the run goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.conftest import in_memory
from tests.ingestion.kills import rehearse


@pytest.mark.timeout(300)
async def test_killed_at_random_the_work_goes_on_where_it_was() -> None:
    with tempfile.TemporaryDirectory(prefix="almanac-", dir=in_memory(), ignore_cleanup_errors=True) as home:
        outcome = await rehearse(Path(home), seed=7, size=120, kills=6, patience=130.0)
    assert sum(outcome.kills.values()) >= 3, outcome
