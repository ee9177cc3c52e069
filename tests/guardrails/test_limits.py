"""In the wrong language, or too many: each has its sentence."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from assistant.database.session import Sessions
from assistant.database.tables import Answer
from assistant.guardrails.limits import Limits
from assistant.settings import Settings

ASKER = "slack:T1:U1"


def limits(**settings: object) -> Limits:
    return Limits(Settings(_env_file=None, **settings))  # type: ignore[arg-type]


def answered(seconds_ago: float, asker: str = ASKER, unprompted: bool = False) -> Answer:
    return Answer(
        id=uuid.uuid4(), platform="slack", conversation="c", asker=asker, audience=[], question="q", outcome="answered",
        text="t", citations=[], nearest=[], retrieval=[], timings_ms={}, model="m", prompt_tokens=0,
        completion_tokens=0, cost_usd=0.0, unprompted=unprompted,
        created_at=datetime.now(UTC) - timedelta(seconds=seconds_ago),
    )  # fmt: skip


async def test_the_minute_that_ends_now_is_counted(sessions: Sessions) -> None:
    guard = limits(questions_per_minute=3)
    async with sessions.begin() as session:
        session.add_all(
            [answered(70), answered(50), answered(1), answered(1, "slack:T1:U2"), answered(1, unprompted=True)]
        )
    async with sessions() as session:
        with guard.asking(ASKER):
            assert await guard.too_many(session, ASKER, "slack", "en") is None
            with guard.asking(ASKER):
                refused = await guard.too_many(session, ASKER, "slack", "en")
            assert refused is not None
            assert "3 questions within a minute" in refused
            assert 5 <= int(refused.rpartition(" in ")[2].split()[0]) <= 11  # until the first of them is a minute old
        with guard.asking("slack:T1:U3"):
            assert await guard.too_many(session, "slack:T1:U3", "slack", "en") is None


async def test_questions_at_once_count_before_they_are_answered(sessions: Sessions) -> None:
    guard = limits(questions_per_minute=1)
    async with sessions() as session:
        with guard.asking(ASKER):
            assert await guard.too_many(session, ASKER, "slack", "de") is None
            with guard.asking(ASKER):
                assert "60 s" in (await guard.too_many(session, ASKER, "slack", "de") or "")
        with guard.asking(ASKER):
            assert await guard.too_many(session, ASKER, "slack", "de") is None


async def test_none_is_no_limit(sessions: Sessions) -> None:
    guard = limits(questions_per_minute=0)
    async with sessions.begin() as session:
        session.add_all([answered(1) for _ in range(50)])
    async with sessions() as session:
        assert await guard.too_many(session, ASKER, "slack", "en") is None


async def test_on_ones_own_machine_nobody_else_is_kept_waiting(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add_all([answered(1) for _ in range(5)])
    open_page = limits(questions_per_minute=1)
    shared_page = limits(questions_per_minute=1, host="0.0.0.0", web_token="a token of the page")
    async with sessions() as session:
        assert await open_page.too_many(session, ASKER, "terminal", "en") is None
        assert await open_page.too_many(session, ASKER, "web", "en") is None
        assert await open_page.too_many(session, ASKER, "teams", "en") is not None
        assert await shared_page.too_many(session, ASKER, "web", "en") is not None


def test_language_only_where_it_is_plain() -> None:
    guard = limits(languages="en,de")
    italian = "Come posso ripristinare la versione precedente del servizio di pagamento?"
    assert "en, de" in (guard.wrong_language(italian, "en") or "")
    assert guard.wrong_language("Wie setze ich den Dienst auf die vorherige Version zurück?", "de") is None
    assert guard.wrong_language("ciao", "en") is None
    assert limits().wrong_language(italian, "en") is None
