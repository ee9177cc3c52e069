"""Links that open the administrators' page once, and the sessions that come of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.shown_once import hashed, new_secret
from assistant.database.tables_admin import AdminLink

LINK_MINUTES = 10
SESSION_HOURS = 8
GRANTED_HOURS = 1  # of somebody whom the platform calls an administrator: nobody tells us when that ends
KEPT_DAYS = 1


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came in by a link, and until when."""

    person: str
    name: str
    platform: str
    granted: bool
    until: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """Whom a link is for. ``granted``: an administrator by the platform's word, not by the settings'."""

    person: str
    name: str
    platform: str
    granted: bool


_COLUMNS = (AdminLink.person, AdminLink.name, AdminLink.platform, AdminLink.granted, AdminLink.session_until)


async def create(session: AsyncSession, invited: Invited) -> str:
    """A new link's secret, in clear for the only time. An older link of the person that nobody opened opens no more."""
    token = new_secret()
    unopened = (AdminLink.person == invited.person, AdminLink.session_hash.is_(None))
    await session.execute(delete(AdminLink).where(*unopened))
    await session.execute(delete(AdminLink).where(AdminLink.created_at < func.now() - timedelta(days=KEPT_DAYS)))
    row = {
        "token_hash": hashed(token), "person": invited.person, "name": invited.name, "platform": invited.platform,
        "granted": invited.granted, "opens_until": func.now() + timedelta(minutes=LINK_MINUTES),
    }  # fmt: skip
    await session.execute(insert(AdminLink).values(**row))
    return token


async def open_session(session: AsyncSession, token: str) -> tuple[str, Visitor] | None:
    """A session's secret for a link's, once; None where the link is unknown, was opened before, or is past its time."""
    secret = new_secret()
    lasts = case((AdminLink.granted, timedelta(hours=GRANTED_HOURS)), else_=timedelta(hours=SESSION_HOURS))
    unopened = (AdminLink.session_hash.is_(None), AdminLink.opens_until > func.now())
    statement = (
        update(AdminLink)
        .where(AdminLink.token_hash == hashed(token), *unopened)
        .values(session_hash=hashed(secret), session_until=func.now() + lasts)
        .returning(*_COLUMNS)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else (secret, _visitor(row))


async def visitor_of(session: AsyncSession, secret: str) -> Visitor | None:
    """Who the session is of; None where there is none, or its time is over."""
    live = (AdminLink.session_hash == hashed(secret), AdminLink.session_until > func.now())
    row = (await session.execute(select(*_COLUMNS).where(*live))).first()
    return None if row is None else _visitor(row)


async def end_session(session: AsyncSession, secret: str) -> None:
    await session.execute(delete(AdminLink).where(AdminLink.session_hash == hashed(secret)))


def _visitor(row: Row[str, str, str, bool, datetime | None]) -> Visitor:
    person, name, platform, granted, until = row
    assert until is not None  # it has a session
    return Visitor(person, name, platform, granted, until)
