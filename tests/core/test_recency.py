"""The newer of two passages that fit equally well comes first; nothing that fits better is ever overtaken."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.ranking import FINAL, replace
from assistant.knowledge.recency import day, order
from assistant.knowledge.search import Searcher
from tests.core.parts import Page, WordEmbedder, shelve

TODAY = date(2026, 5, 1)


def test_the_newer_of_two_near_equals_comes_first() -> None:
    assert order([0.80, 0.795], [TODAY - timedelta(days=700), TODAY], 0.02) == [1, 0]
    assert order([0.80, 0.795], [TODAY, TODAY - timedelta(days=700)], 0.02) == [0, 1]
    assert order([0.80, 0.795], [None, TODAY], 0.02) == [0, 1]  # nothing is known of the one: it is as old as the rest
    assert order([], [], 0.02) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_lead_of_more_than_the_most_is_never_overtaken_and_equal_days_change_nothing(seed: int) -> None:
    draw = random.Random(seed)
    scores = sorted((draw.random() for _ in range(30)), reverse=True)
    days = [draw.choice([None, TODAY - timedelta(days=draw.randint(0, 5_000))]) for _ in scores]
    places = order(scores, days, 0.02)
    assert sorted(places) == list(range(30))
    for at, place in enumerate(places):
        for later in places[at + 1 :]:
            assert scores[later] - scores[place] <= 0.02
    assert order(scores, [TODAY] * 30, 0.02) == order(scores, [None] * 30, 0.02) == list(range(30))
    assert order(scores, days, 0.0) == list(range(30))


@pytest.mark.parametrize(
    ("details", "found"),
    [
        ({"updated": "2024-03-05", "modified": "2025-01-01"}, date(2024, 3, 5)),
        ({"updated": "2024-03"}, date(2024, 3, 1)),
        ({"updated": "last spring", "modified": "2025-01-01T10:00:00Z"}, date(2025, 1, 1)),
        ({"updated": "2024-13-45"}, date(2026, 5, 1)),
        ({}, date(2026, 5, 1)),
    ],
)
def test_the_day_is_what_the_document_says_else_its_source_else_when_it_was_read(
    details: dict[str, str], found: date
) -> None:
    assert day(details, datetime(2026, 5, 1, 12, tzinfo=UTC)) == found
    assert day({}, None) is None


async def test_in_a_search_the_newer_page_of_two_alike_leads(sessions: Sessions) -> None:
    """Each in turn is the newer one; and what fits better leads however old it is."""
    pages = [
        Page("a.md", "Ferry", ("The ferry leaves at nine from pier three in winter.",)),
        Page("b.md", "Ferry", ("The ferry leaves at ten from pier four in winter.",)),
        Page("c.md", "Crane", ("The crane of the ferry is green.",)),
        Page("d.md", "Lamp", ("The lamp of the pier is blue.",)),
    ]
    await shelve(sessions, WordEmbedder(), *pages)
    searcher = Searcher(sessions, WordEmbedder())

    async def first(question: str) -> list[str]:
        found = await searcher.search(question, audience=Audience.everyone())
        scores = [hit.score for hit in found.hits]
        assert scores == sorted(scores, reverse=True)
        return [hit.external_id for hit in found.hits]

    async def dated(**days: str) -> None:
        async with sessions.begin() as session:
            for name, when in days.items():
                await session.execute(
                    text("UPDATE documents SET details = jsonb_build_object('updated', CAST(:day AS text))"
                         " WHERE external_id = :name"), {"name": f"{name}.md", "day": when}
                )  # fmt: skip

    asked = "When does the ferry leave from the pier in winter?"
    await dated(a="2020-01-01", b="2026-01-01", c="2019-01-01", d="2019-01-01")
    assert (await first(asked))[:2] == ["b.md", "a.md"]
    await dated(a="2026-01-01", b="2020-01-01")
    assert (await first(asked))[:2] == ["a.md", "b.md"]
    await dated(a="2001-01-01", b="2001-01-01", c="2026-01-01", d="2026-01-01")
    assert set((await first(asked))[:2]) == {"a.md", "b.md"}
    plain = Searcher(sessions, WordEmbedder(), replace(FINAL, recency=0.0))
    found = await plain.search(asked, audience=Audience.everyone())
    assert {hit.external_id for hit in found.hits[:2]} == {"a.md", "b.md"}
