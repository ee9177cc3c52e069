"""Budgets: nobody goes before a window has room, in the order of asking, and not while the platform says wait."""

from __future__ import annotations

import asyncio
import random

import pytest

from bot.pace import Pace

TEAMS = {"thread": [(7, 1.0), (8, 2.0), (60, 30.0), (1_800, 3_600.0)]}


class Time:
    """A clock that stands until everybody sleeps, then jumps to the first who wakes."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, self._count, waiting))
        await waiting

    async def run(self, *work: asyncio.Task[None]) -> None:
        while not all(task.done() for task in work):
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort(key=lambda sleeper: sleeper[:2])
                self.now, _, waiting = self._sleepers.pop(0)
                if not waiting.done():
                    waiting.set_result(None)
        await asyncio.gather(*work)


async def times(pace: Pace, clock: Time, calls: int, name: str = "thread", key: str = "a") -> list[float]:
    went: list[tuple[float, int]] = []

    async def call(number: int) -> None:
        await pace.turn(name, key)
        went.append((clock(), number))

    await clock.run(*(asyncio.create_task(call(number)) for number in range(calls)))
    assert [number for _, number in went] == list(range(calls))
    return [when for when, _ in went]


@pytest.mark.parametrize("calls", [1, 7, 8, 70, 400])
async def test_no_window_ever_holds_more_than_its_calls(calls: int) -> None:
    clock = Time()
    went = await times(Pace(TEAMS, clock, clock.sleep), clock, calls)
    assert len(went) == calls
    for most, seconds in TEAMS["thread"]:
        for start in went:
            assert sum(start <= when < start + seconds - 1e-9 for when in went) <= most


async def test_a_burst_goes_as_fast_as_the_limits_allow() -> None:
    clock = Time()
    went = await times(Pace(TEAMS, clock, clock.sleep), clock, 61)
    assert went[6] == 0.0
    assert went[7] == pytest.approx(1.0)
    assert went[8] == pytest.approx(2.0)
    assert went[60] == pytest.approx(30.0)


async def test_keys_and_names_do_not_wait_for_each_other() -> None:
    clock = Time()
    pace = Pace({"post": [(1, 1.0)], "update": [(50, 60.0)]}, clock, clock.sleep)
    assert await pace.turn("post", "C1") == 0
    assert pace.free_in("post", "C1") == pytest.approx(1.0)
    assert pace.free_in("post", "C2") == 0
    assert await pace.turn("update", "C1") == 0


async def test_after_a_refusal_nobody_goes_before_its_time_not_even_those_who_wait_already() -> None:
    clock = Time()
    pace = Pace({"post": [(1, 1.0)]}, clock, clock.sleep)
    await pace.turn("post")
    waiting = asyncio.create_task(pace.turn("post"))
    await asyncio.sleep(0)
    pace.hold("post", "", 10.0)
    assert pace.free_in("post") == pytest.approx(10.0)
    pace.hold("post", "", 2.0)  # the longer word stands
    last = asyncio.create_task(pace.turn("post"))
    await clock.run(waiting, last)  # type: ignore[arg-type]
    assert sorted([waiting.result(), last.result()])[0] >= 10.0
    assert abs(waiting.result() - last.result()) >= 1.0


async def test_one_who_gives_up_keeps_nobody_else_from_going() -> None:
    clock = Time()
    pace = Pace({"post": [(1, 1.0)]}, clock, clock.sleep)
    await pace.turn("post")
    leaving = asyncio.create_task(pace.turn("post"))
    await asyncio.sleep(0)
    leaving.cancel()
    staying = asyncio.create_task(pace.turn("post"))
    await clock.run(staying)  # type: ignore[arg-type]
    assert staying.result() <= 2.0


async def test_what_is_long_past_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.pace.IDLE", 50)
    clock = Time()
    pace = Pace({"post": [(1, 1.0)]}, clock, clock.sleep)
    generator = random.Random(1)
    for number in range(500):
        clock.now += generator.random()
        await pace.turn("post", f"C{number}")
    assert len(pace._past) <= 52
