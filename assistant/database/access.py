"""Keys that let programs ask on somebody's behalf: made, found by their hash, revoked."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.shown_once import hashed, new_secret
from assistant.database.tables_access import AccessToken
from assistant.knowledge.audience import Audience

PREFIX = "alm_"  # so that scanners for secrets, and people, know one when they see it
DAYS = 90
USED_MINUTES = 5  # that the last use is noted once in


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a key speaks for."""

    person: str
    platform: str
    audience: Audience
    language: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its owner sees it: without the secret, which is shown once."""

    id: uuid.UUID
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


async def create(session: AsyncSession, holder: Holder, days: int = DAYS) -> str:
    """A new key, in clear for the only time."""
    token = PREFIX + new_secret()
    row = {
        "token_hash": hashed(token),
        "person": holder.person,
        "platform": holder.platform,
        "principals": sorted(holder.audience.principals),
        "language": holder.language,
        "expires_at": datetime.now(UTC) + timedelta(days=days),
    }
    await session.execute(insert(AccessToken).values(**row))
    return token


async def holder_of(session: AsyncSession, token: str) -> Holder | None:
    """Whom the key speaks for; None where it is unknown, revoked or past its time."""
    if not token.startswith(PREFIX):
        return None
    found = (AccessToken.token_hash == hashed(token), AccessToken.expires_at > func.now())
    columns = (AccessToken.person, AccessToken.platform, AccessToken.principals, AccessToken.language)
    row = (await session.execute(select(*columns).where(*found))).first()
    if row is None:
        return None
    stale = func.now() - timedelta(minutes=USED_MINUTES)
    unnoted = AccessToken.last_used_at.is_(None) | (AccessToken.last_used_at < stale)
    await session.execute(update(AccessToken).where(*found, unnoted).values(last_used_at=func.now()))
    return Holder(row.person, row.platform, Audience(frozenset(row.principals)), row.language)


async def keys_of(session: AsyncSession, person: str) -> list[Key]:
    """The person's keys that still open, oldest first."""
    columns = (AccessToken.id, AccessToken.created_at, AccessToken.expires_at, AccessToken.last_used_at)
    live = (AccessToken.person == person, AccessToken.expires_at > func.now())
    rows = await session.execute(select(*columns).where(*live).order_by(AccessToken.created_at, AccessToken.id))
    return [Key(*row) for row in rows]


async def revoke(session: AsyncSession, person: str, key: uuid.UUID) -> bool:
    """Whether the person had such a key; it opens nothing any more."""
    mine = delete(AccessToken).where(AccessToken.person == person, AccessToken.id == key).returning(AccessToken.id)
    return (await session.execute(mine)).first() is not None
