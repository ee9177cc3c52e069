"""Caps hold before a call is made, however many ask at once; what a call took corrects what was set aside."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from assistant.answering.messages import Question, Usage
from assistant.database.session import Sessions
from assistant.errors import SettingsError
from assistant.knowledge.audience import Audience
from assistant.models.pricing import priced
from assistant.settings import Price, Settings, load_settings
from assistant.spending.budget import Budget, OverBudget, Purse, Reservation
from assistant.telemetry import Metrics

PRICES = {"m": Price(prompt=100, completion=200, cached_prompt=25)}  # a call of 100 + 50 tokens costs 0.02 at most
ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def settings_with(**caps: Any) -> Settings:
    return load_settings(_env_file=None, **{"llm_prices": PRICES, "cap_answer_usd": None, **caps})


def question(asker: str = "slack:T1:U1", conversation: str = "T1:C1:17.1", platform: str = "slack") -> Question:
    return Question("Why?", asker, Audience.everyone(), platform, conversation)


def budget_of(sessions: Sessions, now: datetime = NOON, metrics: Metrics | None = None, **caps: Any) -> Budget:
    return Budget(sessions, settings_with(**caps), metrics, clock=lambda: now)


async def spent(sessions: Sessions) -> dict[tuple[str, str], tuple[Decimal, int]]:
    async with sessions() as session:
        rows = await session.execute(text("SELECT scope, name, usd, tokens FROM spending_totals"))
        return {(row.scope, row.name): (row.usd, row.tokens) for row in rows}


async def ledger(sessions: Sessions) -> list[Any]:
    async with sessions() as session:
        return list((await session.execute(text("SELECT * FROM model_calls ORDER BY at"))).all())


async def reserve(purse: Purse, held: list[Reservation] | None = None) -> bool:
    """Whether there was room; what is held then is added to ``held``."""
    try:
        reservation = await purse.reserve("m", 100, 50)
    except OverBudget:
        return False
    if held is not None:
        held.append(reservation)
    return True


async def test_a_call_counts_with_its_most_and_then_with_what_it_took(sessions: Sessions) -> None:
    purse = budget_of(sessions).purse(question(), uuid.uuid4())
    reservation = await purse.reserve("m", 100, 50)
    expected = (Decimal("0.02"), 150)
    assert await spent(sessions) == {
        ("person", "slack:T1:U1"): expected,
        ("channel", "slack:T1:C1"): expected,
        ("day", ""): expected,
        ("month", ""): expected,
    }
    (row,) = await ledger(sessions)
    assert (row.outcome, row.estimated, row.cost_usd) == ("open", True, Decimal("0.02"))
    reservation.used(priced(PRICES, "m", 40, 10, cached_tokens=20), cached_tokens=20)
    await purse.settle(reservation)
    assert set((await spent(sessions)).values()) == {(Decimal("0.0045"), 50)}
    (row,) = await ledger(sessions)
    assert (row.outcome, row.estimated, row.cost_usd) == ("done", False, Decimal("0.0045"))
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (40, 20, 10)
    assert row.milliseconds > 0


async def test_settling_twice_counts_once(sessions: Sessions) -> None:
    purse = budget_of(sessions).purse(question())
    reservation = await purse.reserve("m", 100, 50)
    for _ in range(2):
        reservation.used(Usage(1, 1, 0.0003))
        await purse.settle(reservation)
    assert (await spent(sessions))["day", ""] == (Decimal("0.0003"), 2)


@pytest.mark.parametrize(
    ("cap", "scope"),
    [
        ("cap_person_day_usd", "person"),
        ("cap_channel_day_usd", "channel"),
        ("cap_day_usd", "day"),
        ("cap_month_usd", "month"),
    ],
)
async def test_fifty_at_once_cannot_pass_a_cap(sessions: Sessions, cap: str, scope: str) -> None:
    """Fifty questions of one person in one channel, through two engines' worth of sessions: seven fit into 0.15."""
    metrics = Metrics()
    budgets = [budget_of(sessions, metrics=metrics, **{cap: 0.15}) for _ in range(2)]
    purses = [budgets[n % 2].purse(question(), uuid.uuid4()) for n in range(50)]
    made = await asyncio.gather(*map(reserve, purses))
    assert sum(made) == 7
    assert (await spent(sessions))["day", ""] == (Decimal("0.14"), 7 * 150)
    assert len(await ledger(sessions)) == 7
    assert metrics.cap_refusals.labels(scope)._value.get() == 43


def child(url: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of ``tests/spending/child.py``."""
    command = [sys.executable, "-m", "tests.spending.child", url, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("settles", [True, False])
def test_processes_share_the_caps(database_url: str, settles: bool) -> None:
    """Four processes with fifty questions each, of five people in one channel: no update is lost, no deadlock."""
    children = [child(database_url, number, 50, 0.01, *["settle"] * settles) for number in range(4)]
    ended = [process.communicate(timeout=120) for process in children]
    assert [process.returncode for process in children] == [0] * 4, ended
    results = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    cost = round(sum(result[1] for result in results), 8)
    assert cost <= 0.5
    assert cost > 0.4  # and the cap is used
    with psycopg.connect(database_url) as connection:
        totals = dict(connection.execute("SELECT scope, sum(usd) FROM spending_totals GROUP BY scope").fetchall())
        ((rows, in_ledger, open_calls),) = connection.execute(
            "SELECT count(*), sum(cost_usd), count(*) FILTER (WHERE outcome = 'open') FROM model_calls"
        ).fetchall()
    assert rows == sum(result[0] for result in results)
    assert open_calls == 0
    assert set(totals.values()) == {in_ledger}
    assert float(in_ledger) == pytest.approx(cost)


async def test_an_answer_has_a_cap_of_its_own(sessions: Sessions) -> None:
    budget = budget_of(sessions, cap_answer_usd=0.05)
    purse = budget.purse(question(), uuid.uuid4())
    held: list[Reservation] = []
    assert await asyncio.gather(*(reserve(purse, held) for _ in range(4))) == [True, True, False, False]
    assert (await spent(sessions))["day", ""] == (Decimal("0.04"), 300)
    held[-1].used(Usage(10, 5, 0.002))
    await purse.settle(held[-1])
    assert await reserve(purse)
    assert await reserve(budget.purse(question(), uuid.uuid4()))  # another answer's begins anew


async def test_tokens_cap_a_model_without_a_price(sessions: Sessions) -> None:
    budget = budget_of(sessions, llm_prices={}, cap_day_tokens=400)
    made = [await reserve(budget.purse(question())) for _ in range(4)]
    assert made == [True, True, False, False]
    assert (await spent(sessions))["day", ""] == (Decimal(0), 300)


async def test_a_cap_in_dollars_needs_a_price(sessions: Sessions) -> None:
    with pytest.raises(SettingsError, match=r"ALMANAC_LLM_PRICES must name the price of x"):
        settings_with(llm_model="x", cap_day_usd=5)
    assert settings_with(llm_model="x", cap_day_usd=5, llm_prices={"*": PRICES["m"]})
    assert load_settings(_env_file=None, llm_model="x")  # the default cap asks for none
    with pytest.raises(SettingsError, match=r"no price of other"):
        await budget_of(sessions, cap_day_usd=5).purse(question()).reserve("other", 1, 1)
    assert await ledger(sessions) == []


async def test_who_is_over_is_told_which_cap_and_when_it_frees_up(sessions: Sessions) -> None:
    evening = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # in Berlin, it is December
    for cap, scope, when in [
        ("cap_person_day_usd", "person", "2026-12-02 00:00 CET"),
        ("cap_month_usd", "month", "2027-01-01 00:00 CET"),
    ]:
        budget = budget_of(sessions, evening, **{cap: 0.0205}, cap_timezone="Europe/Berlin")
        asker = question(asker=f"slack:T1:{scope}") if scope == "person" else question()
        await budget.purse(asker).reserve("m", 100, 50)
        with pytest.raises(OverBudget) as caught:
            await budget.purse(asker).reserve("m", 100, 50)
        assert caught.value.scope == scope
        assert when in caught.value.sentence("en")
        assert when in caught.value.sentence("de")
        assert "0.02" not in str(caught.value)
        async with sessions.begin() as session:
            await session.execute(text("TRUNCATE spending_totals"))


async def test_what_others_hold_may_come_free_and_what_is_spent_does_not(sessions: Sessions) -> None:
    budget = budget_of(sessions, cap_channel_day_usd=0.03)
    first = budget.purse(question())
    held = await first.reserve("m", 100, 50)
    with pytest.raises(OverBudget) as caught:
        await budget.purse(question("slack:T1:U2")).reserve("m", 100, 50)
    assert caught.value.soon
    held.used(Usage(100, 50, 0.02))
    await first.settle(held)
    with pytest.raises(OverBudget) as caught:
        await budget.purse(question("slack:T1:U2")).reserve("m", 100, 50)
    assert not caught.value.soon
    assert await reserve(budget.purse(question("slack:T1:U2", "T1:C2:1.0")))  # another channel


async def test_a_call_that_no_window_could_hold_is_never_promised(sessions: Sessions) -> None:
    with pytest.raises(OverBudget) as caught:
        await budget_of(sessions, cap_day_usd=0.01).purse(question()).reserve("m", 100, 50)
    assert caught.value.frees_at is None
    assert "alone" in str(caught.value)
    assert await spent(sessions) == {}


async def test_a_day_ends_at_midnight_of_its_time_zone(sessions: Sessions) -> None:
    def at(hour: int, minute: int) -> Budget:
        now = datetime(2026, 11, 26, hour, minute, tzinfo=UTC)
        return budget_of(sessions, now, cap_day_usd=0.02, cap_timezone="America/New_York")

    assert await reserve(at(4, 59).purse(question()))  # the 25th in New York
    assert await reserve(at(5, 0).purse(question()))
    assert not await reserve(at(23, 0).purse(question()))


async def test_what_is_settled_after_midnight_counts_to_the_day_it_began(sessions: Sessions) -> None:
    now = [datetime(2026, 11, 26, 23, 59, tzinfo=UTC)]
    budget = Budget(sessions, settings_with(), clock=lambda: now[0])
    purse = budget.purse(question())
    held = await purse.reserve("m", 100, 50)
    now[0] += timedelta(minutes=2)
    held.used(Usage(10, 5, 0.002))
    await purse.settle(held)
    async with sessions() as session:
        rows = (await session.execute(text("SELECT since, usd FROM spending_totals WHERE scope = 'day'"))).all()
    assert [(row.since.day, row.usd) for row in rows] == [(26, Decimal("0.002"))]


async def test_a_process_that_dies_leaves_its_most_counted(sessions: Sessions, database_url: str) -> None:
    """Killed in the middle of a call: the cap still knows of it, and its end can be written when it is known."""
    process = child(database_url, 0, 1, 60)
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    process.kill()
    process.communicate()
    assert line == "held\n"
    (row,) = await ledger(sessions)
    assert (row.outcome, row.cost_usd) == ("open", Decimal("0.02"))
    async with sessions.begin() as session:
        await session.execute(text("UPDATE model_calls SET held_until = now() - interval '1 second'"))
    budget = Budget(sessions, settings_with(cap_channel_day_usd=0.03))
    with pytest.raises(OverBudget) as caught:
        await budget.purse(question()).reserve("m", 100, 50)
    assert not caught.value.soon  # nobody will give it back


async def test_a_call_that_is_broken_off_keeps_its_most(sessions: Sessions) -> None:
    budget, begun = budget_of(sessions), asyncio.Event()

    async def cut() -> None:
        async with budget.purse(question()).call("m", prompt_tokens=100, completion_tokens=50):
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(cut())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await ledger(sessions)
    assert (row.outcome, row.estimated, row.cost_usd) == ("unknown", True, Decimal("0.02"))


async def test_whenever_a_call_is_cancelled_the_sums_are_those_of_the_ledger(sessions: Sessions) -> None:
    """Also in the middle of its reservation: what was never made costs nothing, and nothing stays open."""
    budget, chance, sent = budget_of(sessions), random.Random(3), 0

    async def one() -> None:
        nonlocal sent
        async with budget.purse(question()).call("m", prompt_tokens=100, completion_tokens=50):
            sent += 1
            await asyncio.sleep(60)

    for _ in range(40):
        task = asyncio.create_task(one())
        await asyncio.sleep(chance.uniform(0, 0.06))
        task.cancel()
        await asyncio.wait([task])
    rows = await ledger(sessions)
    assert not [row for row in rows if row.outcome == "open"]
    assert sum(row.outcome == "unknown" for row in rows) == sent
    counted = (await spent(sessions)).get(("day", ""), (Decimal(0), 0))
    assert counted == (sum((row.cost_usd for row in rows), Decimal(0)), 150 * sent)


async def test_a_call_that_was_never_sent_costs_nothing(sessions: Sessions) -> None:
    purse = budget_of(sessions).purse(question())

    async def refused() -> None:
        async with purse.call("m", prompt_tokens=100, completion_tokens=50) as call:
            call.unsent()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await refused()
    assert set((await spent(sessions)).values()) == {(Decimal(0), 0)}
    (row,) = await ledger(sessions)
    assert (row.outcome, row.cost_usd) == ("failed", 0)


async def test_old_sums_are_forgotten_and_the_month_is_not(sessions: Sessions) -> None:
    for now in (NOON - timedelta(days=200), NOON.replace(day=1), NOON):
        await budget_of(sessions, now).purse(question()).reserve("m", 100, 50)
    async with sessions() as session:
        since = set((await session.execute(text("SELECT since FROM spending_totals"))).scalars())
    assert {day.isoformat() for day in since} == {"2026-11-01", "2026-11-26"}
    assert (await spent(sessions))["month", ""] == (Decimal("0.04"), 300)


@pytest.mark.parametrize(
    ("platform", "conversation", "channel"),
    [
        ("slack", "T1:C1:17.1", "slack:T1:C1"),
        ("slack", "T1:C1:ask:U1:17.1", "slack:T1:C1"),
        ("teams", "19:abc@thread.tacv2;messageid=17", "teams:19:abc@thread.tacv2"),
        ("web", "person:0b3c", ""),
    ],
)
async def test_a_thread_counts_to_its_channel(
    sessions: Sessions, platform: str, conversation: str, channel: str
) -> None:
    await budget_of(sessions).purse(question("p", conversation, platform)).reserve("m", 1, 1)
    (row,) = await ledger(sessions)
    assert row.channel == channel
    assert (("channel", channel) in await spent(sessions)) is bool(channel)
