"""Links to the administrators' page: made where nobody looks on, opened once and in time, stored as hashes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select, text

from assistant.database import admin_links
from assistant.database.admin_links import Invited
from assistant.database.session import Sessions
from assistant.database.tables_admin import AdminLink
from tests.core.test_commands import Desk

HERE: dict[str, Any] = {"place": "user:slack:T1:U1", "name": "Anna"}
BEN = Invited("slack:T1:U2", "Ben", "slack", granted=True)


@pytest.fixture
async def desk(database_url: str, sessions: Sessions) -> AsyncIterator[Desk]:
    desk = Desk(database_url, sessions, public_url="https://almanac.example/")
    yield desk
    await desk.services.engine.dispose()


async def made(desk: Desk) -> str:
    reply = await desk.say("admin", **HERE)
    found = re.search(r"\(https://almanac\.example/admin/enter#([\w-]{43})\)", reply.text)
    assert found, reply.text
    return found[1]


async def opened(sessions: Sessions, token: str) -> tuple[str, admin_links.Visitor] | None:
    async with sessions.begin() as session:
        return await admin_links.open_session(session, token)


async def move(sessions: Sessions, column: str) -> None:
    async with sessions.begin() as session:
        await session.execute(text(f"UPDATE admin_links SET {column} = now() - interval '1 second'"))


async def test_a_link_opens_one_session_for_who_asked(desk: Desk) -> None:
    token = await made(desk)
    first, second = await opened(desk.sessions, token), await opened(desk.sessions, token)
    assert second is None
    assert first is not None
    secret, visitor = first
    assert (visitor.person, visitor.name, visitor.granted) == ("slack:T1:U1", "Anna", False)
    async with desk.sessions() as session:
        assert await admin_links.visitor_of(session, secret) == visitor
        assert await admin_links.visitor_of(session, token) is None
        stored = (await session.execute(select(AdminLink))).scalar_one()
        assert not {token, secret} & set(map(str, vars(stored).values()))
    assert await desk.actions() == [("admin", "")]


async def test_a_link_is_made_only_where_nobody_looks_on_and_only_for_administrators(desk: Desk) -> None:
    in_public = await desk.say("admin")
    not_admin = await desk.say("admin", admin=False, **HERE)
    assert in_public.failed
    assert not_admin.failed
    assert "#" not in in_public.text + not_admin.text
    async with desk.sessions() as session:
        assert (await session.execute(select(func.count()).select_from(AdminLink))).scalar_one() == 0


async def test_a_link_past_its_time_opens_nothing(desk: Desk) -> None:
    token = await made(desk)
    await move(desk.sessions, "opens_until")
    assert await opened(desk.sessions, token) is None


async def test_a_new_link_takes_the_place_of_one_that_nobody_opened(desk: Desk) -> None:
    older = await made(desk)
    newer = await made(desk)
    assert await opened(desk.sessions, older) is None
    assert await opened(desk.sessions, newer) is not None


async def test_a_session_ends_with_its_time_or_when_it_is_left(desk: Desk) -> None:
    for end in ("time", "left"):
        found = await opened(desk.sessions, await made(desk))
        assert found is not None
        if end == "time":
            await move(desk.sessions, "session_until")
        async with desk.sessions.begin() as session:
            if end == "left":
                await admin_links.end_session(session, found[0])
            assert await admin_links.visitor_of(session, found[0]) is None, end


async def test_whom_only_the_platform_calls_an_administrator_stays_for_an_hour(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        token = await admin_links.create(session, BEN)
    found = await opened(sessions, token)
    assert found is not None
    async with sessions() as session:
        hours = text("SELECT extract(epoch FROM session_until - created_at) / 3600 FROM admin_links")
        assert 0.99 < float((await session.execute(hours)).scalar_one()) < 1.1
