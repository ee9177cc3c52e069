"""Keys for programs: made where nobody looks on, stored as hashes, ended at once, and good for one person's reading."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, text

from assistant.database import access, audit
from assistant.database.access import Holder
from assistant.database.session import Sessions
from assistant.database.tables_access import AccessToken
from assistant.knowledge.audience import Audience
from tests.core.test_commands import Desk

HERE: dict[str, Any] = {"place": "user:slack:T1:U1"}
BEN = Holder("slack:T1:U2", "slack", Audience.person("slack", "T1:U2", "user:email:ben@example.com"), "de")


@pytest.fixture
async def desk(database_url: str, sessions: Sessions) -> AsyncIterator[Desk]:
    desk = Desk(database_url, sessions)
    yield desk
    await desk.services.engine.dispose()


async def made(desk: Desk) -> str:
    reply = await desk.say("mcp new", admin=False, **HERE)
    found = re.search(r"alm_[\w-]{43}", reply.text)
    assert found, reply.text
    return found.group()


async def test_a_key_speaks_for_who_made_it(desk: Desk) -> None:
    token = await made(desk)
    async with desk.sessions.begin() as session:
        holder = await access.holder_of(session, token)
        stored = (await session.execute(select(AccessToken))).scalar_one()
    assert holder is not None
    assert holder.person == "slack:T1:U1"
    assert "user:slack:T1:U1" in holder.audience.principals
    assert token not in repr(vars(stored))


async def test_a_key_is_made_only_where_nobody_looks_on(desk: Desk) -> None:
    reply = await desk.say("mcp new", admin=False)  # in #payments
    assert reply.failed
    assert "alm_" not in reply.text
    async with desk.sessions() as session:
        assert (await session.execute(select(AccessToken.id))).first() is None


async def test_a_revoked_key_opens_nothing_and_both_steps_are_written_down(desk: Desk) -> None:
    token = await made(desk)
    asked = await desk.say("mcp revoke 1", admin=False, **HERE)
    assert asked.confirm is not None
    async with desk.sessions.begin() as session:
        assert await access.holder_of(session, token) is not None  # asked is not done
    await desk.say(asked.confirm.command, admin=False, confirmed=True, **HERE)
    async with desk.sessions.begin() as session:
        assert await access.holder_of(session, token) is None
        written = [entry.action for entry in await audit.recent(session)]
    assert written == ["mcp revoke", "mcp new"]


async def test_nobody_ends_the_key_of_another(desk: Desk) -> None:
    async with desk.sessions.begin() as session:
        token = await access.create(session, BEN)
        (key,) = await access.keys_of(session, BEN.person)
    reply = await desk.say(f"mcp revoke {key.id}", admin=True, confirmed=True, **HERE)
    assert reply.failed
    async with desk.sessions.begin() as session:
        assert await access.holder_of(session, token) == BEN


async def test_a_key_ends_with_its_time(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        token = await access.create(session, BEN)
        await session.execute(text("UPDATE access_tokens SET expires_at = now() - interval '1 second'"))
        assert await access.holder_of(session, token) is None
        assert await access.keys_of(session, BEN.person) == []


@pytest.mark.parametrize("token", ["", "alm_", "alm_wrong", "Bearer alm_x", "alm_" + "a" * 5_000])
async def test_what_is_no_key_opens_nothing(sessions: Sessions, token: str) -> None:
    async with sessions.begin() as session:
        await access.create(session, BEN)
        assert await access.holder_of(session, token) is None


async def test_ten_keys_are_enough(desk: Desk) -> None:
    for _ in range(10):
        await made(desk)
    assert (await desk.say("mcp new", admin=False, **HERE)).failed
    listed = await desk.say("mcp", admin=False)
    assert listed.table is not None
    assert len(listed.table.rows) == 10
