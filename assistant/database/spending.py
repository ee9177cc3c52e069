"""The ledger of model calls, and the sums that the caps are held against.

The sums are rows that every reservation adds to and that the end of its call corrects. Whoever adds to several locks
them in one order (``SCOPES``), the ones that most calls share last, so that nobody waits in a circle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Text, and_, cast, delete, distinct, exists, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables_spending import ModelCall, SpendingTotal

SCOPES = ("person", "channel", "day", "month")
KEPT_DAYS = 70  # of sums: a month's must outlast the month


@dataclass(frozen=True, slots=True)
class Window:
    """A sum that calls count to: the scope, whose it is (empty: everybody's), and its first day."""

    scope: str
    name: str
    since: date


@dataclass(frozen=True, slots=True)
class Amount:
    usd: Decimal = Decimal(0)
    tokens: int = 0

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.usd - other.usd, self.tokens - other.tokens)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its ledger row begins."""

    id: uuid.UUID
    day: date
    answer_id: uuid.UUID | None
    person: str
    platform: str
    channel: str
    model: str
    purpose: str
    prompt_tokens: int
    completion_tokens: int
    usd: Decimal
    windows: tuple[Window, ...]

    @property
    def amount(self) -> Amount:
        return Amount(self.usd, self.prompt_tokens + self.completion_tokens)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended, and what it took."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: Decimal
    milliseconds: float
    outcome: str
    estimated: bool

    @property
    def amount(self) -> Amount:
        return Amount(self.usd, self.prompt_tokens + self.completion_tokens)


async def add(session: AsyncSession, windows: Sequence[Window], amount: Amount) -> dict[Window, Amount]:
    """Add to every sum and return what each is now. Its rows stay locked to the end of the transaction."""
    ordered = sorted(windows, key=lambda window: (SCOPES.index(window.scope), window.name, window.since))
    rows = [
        {"scope": it.scope, "name": it.name, "since": it.since, "usd": amount.usd, "tokens": amount.tokens}
        for it in ordered
    ]
    new = insert(SpendingTotal).values(rows)
    statement = new.on_conflict_do_update(
        index_elements=[SpendingTotal.scope, SpendingTotal.name, SpendingTotal.since],
        set_={"usd": SpendingTotal.usd + new.excluded.usd, "tokens": SpendingTotal.tokens + new.excluded.tokens},
    ).returning(SpendingTotal.scope, SpendingTotal.name, SpendingTotal.since, SpendingTotal.usd, SpendingTotal.tokens)
    found = await session.execute(statement)
    return {Window(scope, name, since): Amount(usd, tokens) for scope, name, since, usd, tokens in found}


async def begin(session: AsyncSession, call: Call, waited_ms: float, seconds: float) -> None:
    """The ledger row of a call that may be made now; it is shown as unknown when ``seconds`` pass without its end."""
    values = {
        "id": call.id, "day": call.day, "answer_id": call.answer_id, "person": call.person, "platform": call.platform,
        "channel": call.channel, "model": call.model, "purpose": call.purpose, "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens, "cost_usd": call.usd, "estimated": True, "waited_ms": waited_ms,
        "held_until": func.now() + timedelta(seconds=seconds),
    }  # fmt: skip
    await session.execute(insert(ModelCall).values(**values))


async def end(session: AsyncSession, call: Call, ended: Ended) -> bool:
    """Write how a call ended, and correct the sums by the difference; False: that was written before."""
    statement = (
        update(ModelCall)
        .where(ModelCall.id == call.id, ModelCall.outcome == "open")
        .values(
            prompt_tokens=ended.prompt_tokens, cached_tokens=ended.cached_tokens,
            completion_tokens=ended.completion_tokens, cost_usd=ended.usd, milliseconds=ended.milliseconds,
            outcome=ended.outcome, estimated=ended.estimated,
        )
        .returning(ModelCall.id)
    )  # fmt: skip
    if (await session.execute(statement)).scalar_one_or_none() is None:
        return False
    if call.windows and ended.amount != call.amount:
        await add(session, call.windows, ended.amount - call.amount)
    return True


async def is_held(session: AsyncSession, window: Window) -> bool:
    """Whether calls that go on now count to the window: what they do not use comes free when they end."""
    of_window = {
        "person": and_(ModelCall.person == window.name, ModelCall.day == window.since),
        "channel": and_(ModelCall.channel == window.name, ModelCall.day == window.since),
        "day": ModelCall.day == window.since,
        "month": ModelCall.day >= window.since,
    }[window.scope]
    goes_on = and_(ModelCall.outcome == "open", ModelCall.held_until > func.now())
    return bool((await session.execute(select(exists().where(goes_on, of_window)))).scalar_one())


async def totals(session: AsyncSession, day: date) -> dict[Window, Amount]:
    """The sums of the windows that hold ``day``."""
    month = day.replace(day=1)
    held = or_(
        and_(SpendingTotal.scope == "month", SpendingTotal.since == month),
        and_(SpendingTotal.scope != "month", SpendingTotal.since == day),
    )
    columns = (SpendingTotal.scope, SpendingTotal.name, SpendingTotal.since, SpendingTotal.usd, SpendingTotal.tokens)
    rows = await session.execute(select(*columns).where(held))
    return {Window(scope, name, since): Amount(usd, tokens) for scope, name, since, usd, tokens in rows}


async def forget_before(session: AsyncSession, day: date) -> None:
    """Leave out sums that no cap looks at any more."""
    await session.execute(delete(SpendingTotal).where(SpendingTotal.since < day - timedelta(days=KEPT_DAYS)))


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of one person, channel, model, purpose or day came to. ``unknown``: calls whose end nobody saw."""

    name: str
    answers: int
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: Decimal
    unknown: int


GROUPS: dict[str, Any] = {
    "person": ModelCall.person,
    "channel": ModelCall.channel,
    "model": ModelCall.model,
    "purpose": ModelCall.purpose,
    "day": ModelCall.day,
}


async def spent(session: AsyncSession, since: date, by: str | None = None) -> list[Spent]:
    """What was spent from the day ``since`` on, by one of ``GROUPS``; the dearest first, days in their order."""
    group = literal("") if by is None else cast(GROUPS[by], Text)
    lost = and_(ModelCall.outcome == "open", ModelCall.held_until <= func.now())
    usd = func.coalesce(func.sum(ModelCall.cost_usd), 0)
    statement = (
        select(
            group, func.count(distinct(ModelCall.answer_id)), func.count(ModelCall.id),
            *(
                func.coalesce(func.sum(column), 0)
                for column in (ModelCall.prompt_tokens, ModelCall.cached_tokens, ModelCall.completion_tokens)
            ),
            usd, func.count(ModelCall.id).filter(or_(ModelCall.outcome == "unknown", lost)),
        )
        .where(ModelCall.day >= since)
        .group_by(text("1"))
        .order_by(text("1") if by == "day" else usd.desc(), text("1"))
    )  # fmt: skip
    rows: Any = await session.execute(statement)
    return [Spent(*row) for row in rows]
