"""What `benchmarks.md` promises, held on real pages: answers are right and cited, what is not there is refused.

The bounds lie under the measured figures by what a change in rounding may cost, and no more. The questions of the split
``test`` were never fitted on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assistant.database.documents import ensure_statistics
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.sample import HANDBOOK
from bench.answers import Asked, ask_all
from bench.world import Corpus, jsonl
from workers.ingestion.pipeline import Ingestion, Report

QUESTIONS = Path(__file__).parent / "data"


async def _filled(sessions: Sessions, embedder: TransformerEmbedder, folder: Path) -> Corpus:
    async with sessions.begin() as session:
        await ensure_statistics(session, embedder.name)
    report = Report()
    await Ingestion(sessions, embedder, 50 * 2**20).ingest_path(folder, report)
    return Corpus("", sessions, report)


def _right(asked: list[Asked], *, answerable: bool) -> int:
    return sum(one.right for one in asked if one.row["answerable"] is answerable)


@pytest.fixture
async def fresh(database_url: str) -> AsyncIterator[Sessions]:
    engine = create_engine(database_url)
    yield create_sessions(engine)
    await engine.dispose()


@pytest.mark.timeout(600)
async def test_questions_on_a_real_developer_handbook(
    fresh: Sessions, embedder: TransformerEmbedder, shared_data: Path
) -> None:
    filled = await _filled(fresh, embedder, shared_data / "govuk_docs" / "docs")
    assert filled.report.added == 267
    assert filled.report.failed == []
    rows = [row for row in jsonl(QUESTIONS / "govuk_questions.jsonl") if row["split"] == "test"]
    asked = await ask_all(filled, embedder, rows)
    assert len(asked) == 40
    assert _right(asked, answerable=True) >= 25
    assert _right(asked, answerable=False) >= 9


@pytest.mark.timeout(600)
async def test_questions_on_the_sample_handbook(fresh: Sessions, embedder: TransformerEmbedder) -> None:
    filled = await _filled(fresh, embedder, HANDBOOK)
    assert filled.report.added == 29
    asked = await ask_all(filled, embedder, jsonl(QUESTIONS / "handbook_questions.jsonl"))
    assert _right(asked, answerable=True) >= 28  # of 40
    assert _right(asked, answerable=False) >= 12  # of 16
