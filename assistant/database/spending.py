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

from sqlalchemy import Text, and_, cast, delete, distinct, exists, func, literal, or_, select, text
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
    waited_ms: float
    outcome: str
    estimated: bool

    @property
    def amount(self) -> Amount:
        return Amount(self.usd, self.prompt_tokens + self.completion_tokens)


# The sums of the windows, each with an amount added; rows are locked in the order that they are given in.
_ADD = """
    INSERT INTO spending_totals AS total (scope, name, since, usd, tokens)
    SELECT scope, name, since, CAST(:usd AS numeric), CAST(:tokens AS bigint) {source}
        unnest(CAST(:scopes AS text[]), CAST(:names AS text[]), CAST(:days AS date[]))
            WITH ORDINALITY AS wanted(scope, name, since, place)
    ORDER BY place
    ON CONFLICT (scope, name, since)
        DO UPDATE SET usd = total.usd + excluded.usd, tokens = total.tokens + excluded.tokens
    RETURNING scope, name, since, usd, tokens"""
_RESERVE = text(
    f"""
    WITH sums AS ({_ADD.format(source="FROM")}), ledger AS (
        INSERT INTO model_calls (id, day, answer_id, person, platform, channel, model, purpose, prompt_tokens,
                                 completion_tokens, cost_usd, estimated, held_until)
        VALUES (:id, :day, CAST(:answer_id AS uuid), :person, :platform, :channel, :model, :purpose, :prompt_tokens,
                :completion_tokens, :usd, true, now() + make_interval(secs => :seconds)))
    SELECT * FROM sums"""  # noqa: S608 - nothing of it comes from outside  # nosec B608
)
_END = text(
    f"""
    WITH ended AS (
        UPDATE model_calls SET prompt_tokens = :prompt_tokens, cached_tokens = :cached_tokens,
            completion_tokens = :completion_tokens, cost_usd = :cost_usd, milliseconds = :milliseconds,
            waited_ms = :waited_ms, outcome = :outcome, estimated = :estimated
        WHERE id = :id AND outcome = 'open' RETURNING id
    ), sums AS ({_ADD.format(source="FROM ended,")})
    SELECT count(*) FROM ended"""  # noqa: S608 - nor of this  # nosec B608
)


def _added(windows: Sequence[Window], amount: Amount) -> dict[str, Any]:
    ordered = sorted(windows, key=lambda window: (SCOPES.index(window.scope), window.name, window.since))
    return {
        "scopes": [window.scope for window in ordered],
        "names": [window.name for window in ordered],
        "days": [window.since for window in ordered],
        "usd": amount.usd,
        "tokens": amount.tokens,
    }


async def reserve(session: AsyncSession, call: Call, seconds: float) -> dict[Window, Amount]:
    """Add a call with its most to every sum and to the ledger, and return what each sum is now.

    The sums stay locked to the end of the transaction: whoever finds one too high rolls it back. The call is shown as
    unknown when ``seconds`` pass without its end.
    """
    columns = ("id", "day", "answer_id", "person", "platform", "channel", "model", "purpose", "prompt_tokens",
               "completion_tokens")  # fmt: skip
    values = {name: getattr(call, name) for name in columns} | _added(call.windows, call.amount)
    rows = await session.execute(_RESERVE, {**values, "seconds": seconds})
    return {Window(row.scope, row.name, row.since): Amount(row.usd, row.tokens) for row in rows}


async def end(session: AsyncSession, call: Call, ended: Ended) -> bool:
    """Write how a call ended, and correct the sums by the difference; False: that was written before."""
    columns = (
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "milliseconds",
        "waited_ms",
        "outcome",
        "estimated",
    )
    values = {name: getattr(ended, name) for name in columns} | {"cost_usd": ended.usd, "id": call.id}
    difference = _added(call.windows, ended.amount - call.amount)
    return bool((await session.execute(_END, {**values, **difference})).scalar_one())


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
