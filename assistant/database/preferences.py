"""What was learned from votes: its versions, which of them are in force, and the runs that make them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Run, Vote
from assistant.database.tables_preferences import PreferenceVersion
from assistant.errors import AlmanacError

LOCK = 0x414C4D50  # of the states of all versions, and of asking for a run
RUN = "learn"
TAKEN_BACK = "Somebody took it back."
HARMED = "People liked the answers of the conversations that tried it less."
HELD_BACK = (TAKEN_BACK, HARMED)


class NoSuchVersion(AlmanacError):
    """There is none that this could be done with; the sentence says which."""


@dataclass(frozen=True, slots=True)
class InForce:
    id: int
    state: str
    share: float | None
    embedding: str


@dataclass(frozen=True, slots=True)
class Version:
    """All of a version but the model itself."""

    id: int
    state: str
    share: float | None
    reason: str | None
    embedding: str
    votes: int
    voters: int
    pairs: int
    fingerprint: str
    until: datetime
    created_at: datetime
    tried_at: datetime | None
    promoted_at: datetime | None
    ended_at: datetime | None
    report: dict[str, Any]


_COLUMNS = tuple(getattr(PreferenceVersion, name) for name in Version.__slots__)


async def of_run(session: AsyncSession, run_id: uuid.UUID) -> Version | None:
    """What a run made, where an earlier attempt at it got that far."""
    row = (await session.execute(select(*_COLUMNS).where(PreferenceVersion.run_id == run_id))).first()
    return None if row is None else Version(*row)


async def add(session: AsyncSession, run_id: uuid.UUID, **values: Any) -> Version:
    """A version as it was made: ``candidate`` or ``refused``. A run makes one: a second is the first."""
    statement = insert(PreferenceVersion).values(run_id=run_id, **values)
    await session.execute(statement.on_conflict_do_nothing(index_elements=[PreferenceVersion.run_id]))
    made = await of_run(session, run_id)
    assert made is not None
    return made


async def in_force(session: AsyncSession) -> list[InForce]:
    """The promoted version and the canary, where there are such."""
    statement = select(
        PreferenceVersion.id, PreferenceVersion.state, PreferenceVersion.share, PreferenceVersion.embedding
    ).where(PreferenceVersion.state.in_(("promoted", "canary")))
    return [InForce(*row) for row in await session.execute(statement)]


async def model_of(session: AsyncSession, number: int) -> dict[str, Any]:
    statement = select(PreferenceVersion.model).where(PreferenceVersion.id == number)
    model: dict[str, Any] = (await session.execute(statement)).scalar_one()
    return model


async def versions(session: AsyncSession, limit: int = 50) -> list[Version]:
    """The newest first."""
    statement = select(*_COLUMNS).order_by(PreferenceVersion.id.desc()).limit(limit)
    return [Version(*row) for row in await session.execute(statement)]


async def find(session: AsyncSession, number: int | None = None) -> Version:
    """A version; without a number the newest. Raises ``NoSuchVersion``."""
    found = select(*_COLUMNS).order_by(PreferenceVersion.id.desc()).limit(1)
    if number is not None:
        found = found.where(PreferenceVersion.id == number)
    row = (await session.execute(found)).first()
    if row is None:
        raise NoSuchVersion(
            "Nothing was learned from votes yet." if number is None else f"There is no version {number}."
        )
    return Version(*row)


async def promote(session: AsyncSession, number: int) -> Version:
    """Let a version order everybody's passages; the one that did so far is retired. Raises ``NoSuchVersion``."""
    version = await _open(session, number)
    await _retire(session, "promoted", but=number)
    changed = {"state": "promoted", "share": None, "promoted_at": func.now(), "ended_at": None, "reason": None}
    await _set(session, version.id, **changed)
    return await find(session, number)


async def canary(session: AsyncSession, number: int, share: float) -> Version:
    """Let a version order a ``share`` of the conversations, 0..1; another that was tried is retired."""
    version = await _open(session, number)
    if version.state == "promoted":
        raise NoSuchVersion(f"Version {number} orders all conversations already.")
    await _retire(session, "canary", but=number)
    began = {} if version.state == "canary" else {"tried_at": func.now()}  # another share: the same trial
    await _set(session, version.id, state="canary", share=share, ended_at=None, reason=None, **began)
    return await find(session, number)


async def trial(session: AsyncSession) -> tuple[Version, datetime] | None:
    """The canary, and since when it is compared with what orders the others now; None where there is none."""
    number = next((one.id for one in await in_force(session) if one.state == "canary"), None)
    if number is None:
        return None
    version = await find(session, number)
    assert version.tried_at is not None
    table = PreferenceVersion
    newest = func.greatest(func.max(table.promoted_at), func.max(table.ended_at).filter(table.promoted_at.is_not(None)))
    changed = (await session.execute(select(newest))).scalar_one()
    return version, max(version.tried_at, changed or version.tried_at)


async def decided(session: AsyncSession, version: Version, good: bool, proof: dict[str, Any]) -> Version | None:
    """The end of a canary by what people said: it is promoted where that was ``good``, else it goes; ``proof`` stays in
    its report. None where somebody was faster."""
    await _lock(session)
    now = await find(session, version.id)
    if (now.state, now.tried_at) != ("canary", version.tried_at):
        return None
    if good:
        await promote(session, version.id)
    else:
        await _retire(session, "canary", reason=HARMED)
    await _set(session, version.id, report=version.report | {"trial": proof})
    return await find(session, version.id)


async def rollback(session: AsyncSession) -> tuple[int, int | None]:
    """Take the last step back: the canary where there is one; else the promoted version, and the one before it is in
    force again. The number of what was taken back, and of what is promoted now. Raises ``NoSuchVersion``."""
    await _lock(session)
    now = {one.state: one.id for one in await in_force(session)}
    if "canary" in now:
        await _retire(session, "canary", reason=TAKEN_BACK)
        return now["canary"], now.get("promoted")
    if "promoted" not in now:
        raise NoSuchVersion("Nothing that was learned from votes is in force.")
    since = select(PreferenceVersion.promoted_at).where(PreferenceVersion.id == now["promoted"]).scalar_subquery()
    before = (
        select(PreferenceVersion.id)
        .where(PreferenceVersion.state == "retired", PreferenceVersion.promoted_at < since)
        .order_by(PreferenceVersion.promoted_at.desc())
        .limit(1)
    )
    await _retire(session, "promoted", reason=TAKEN_BACK)
    earlier = (await session.execute(before)).scalar_one_or_none()
    if earlier is not None:
        await _set(session, earlier, state="promoted", ended_at=None)
    return now["promoted"], earlier


async def switch_off(session: AsyncSession) -> list[int]:
    """Let the ranking alone order the passages; the versions that had a say so far."""
    await _lock(session)
    numbers = [one.id for one in await in_force(session)]
    for state in ("canary", "promoted"):
        await _retire(session, state, reason=TAKEN_BACK)
    return numbers


async def held_back(session: AsyncSession) -> bool:
    """Whether a version was taken back, and nobody has put one in force since: the next one has to wait."""
    taken = select(func.max(PreferenceVersion.ended_at)).where(PreferenceVersion.reason.in_(HELD_BACK))
    put = select(func.max(PreferenceVersion.promoted_at))
    last, since = (await session.execute(taken)).scalar_one(), (await session.execute(put)).scalar_one()
    return last is not None and (since is None or last >= since)


async def request(session: AsyncSession) -> tuple[uuid.UUID, bool]:
    """A run that learns, and whether it is new: one that waits already will do."""
    await _lock(session)
    queued = select(Run.id).where(Run.kind == RUN, Run.state == "queued").limit(1)
    found = (await session.execute(queued)).scalar_one_or_none()
    if found is not None:
        return found, False
    made = insert(Run).values(kind=RUN, arguments={}).returning(Run.id)
    return (await session.execute(made)).scalar_one(), True


async def due(session: AsyncSession, every: timedelta, embedding: str) -> bool:
    """Whether it is time to learn: none waits or works, and the last attempt is so long ago, or what is in force does
    not know questions by the vectors that they have now. Never while there is no new vote."""
    last = (await session.execute(select(func.max(Run.created_at)).where(Run.kind == RUN))).scalar_one()
    busy = select(Run.id).where(Run.kind == RUN, Run.state.in_(("queued", "running"))).limit(1)
    if (await session.execute(busy)).scalar_one_or_none() is not None:
        return False
    if last is None:
        return (await session.execute(select(Vote.answer_id).limit(1))).first() is not None
    now = (await session.execute(select(func.now()))).scalar_one()
    stale = any(one.state == "promoted" and one.embedding != embedding for one in await in_force(session))
    newer = select(Vote.answer_id).where(Vote.updated_at > last).limit(1)
    return (now - last > every and (await session.execute(newer)).first() is not None) or (
        stale and now - last > min(every, timedelta(hours=1))
    )


async def works_already(session: AsyncSession, run_id: uuid.UUID) -> bool:
    """Whether another run that was asked for earlier learns at this moment."""
    mine = select(Run.created_at).where(Run.id == run_id).scalar_subquery()
    others = select(Run.id).where(
        Run.kind == RUN, Run.id != run_id, Run.state == "running", Run.claimed_until > func.now(),
        or_(Run.created_at < mine, (Run.created_at == mine) & (Run.id < run_id)),
    )  # fmt: skip
    return (await session.execute(others.limit(1))).first() is not None


async def _open(session: AsyncSession, number: int) -> Version:
    await _lock(session)
    version = await find(session, number)
    if version.state == "refused":
        raise NoSuchVersion(f"Version {number} was refused: {version.reason}")
    return version


async def _lock(session: AsyncSession) -> None:
    await session.execute(select(func.pg_advisory_xact_lock(LOCK)))


async def _retire(session: AsyncSession, state: str, but: int | None = None, reason: str | None = None) -> None:
    statement = update(PreferenceVersion).where(PreferenceVersion.state == state)
    if but is not None:
        statement = statement.where(PreferenceVersion.id != but)
    await session.execute(statement.values(state="retired", share=None, ended_at=func.now(), reason=reason))


async def _set(session: AsyncSession, number: int, **values: Any) -> None:
    await session.execute(update(PreferenceVersion).where(PreferenceVersion.id == number).values(**values))
