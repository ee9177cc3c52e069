"""Caps on what model calls cost: held before a call is made, by reserving the most that it could cost.

A reservation adds that most to the sums of its person, its channel, the day and the month, in one transaction; where a
sum would pass its cap nothing is added and the call is not made, however many ask at once. When the call ends, the sums
are corrected to what it took. A call whose end nobody saw goes on counting with its most.

    purse = budget.purse(question, answer_id)
    async with purse.call(model, prompt_tokens=…, completion_tokens=…, purpose="write") as call:   # raises OverBudget
        …
        call.used(usage, cached_tokens)
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant import tracing
from assistant.answering.messages import Question, Usage
from assistant.database import spending
from assistant.database.session import Sessions, each_alone
from assistant.database.spending import Amount, Call, Ended, Window
from assistant.errors import AlmanacError, SettingsError
from assistant.models.pricing import price_of, priced
from assistant.settings import Settings
from assistant.spending.caps import Caps, caps_of, channel_of
from assistant.strings import say
from assistant.telemetry import Metrics

log = structlog.get_logger()

ENDING_SECONDS = 5.0  # for writing how a call ended; what is not written goes on counting with its most


class OverBudget(AlmanacError):
    """A call was not made, since a cap could be passed. ``frees_at``: when its window ends; None: it does not.

    ``soon``: calls that go on now hold what is missing, so that it may come free when they end.
    """

    def __init__(self, scope: str, frees_at: datetime | None = None, *, soon: bool = False) -> None:
        self.scope = scope
        self.frees_at = frees_at
        self.soon = soon
        super().__init__(self.sentence("en"))

    def sentence(self, language: str) -> str:
        """Which cap, and when it frees up; no amounts."""
        if self.frees_at is None:
            return say(f"spending.over_{self.scope}_alone", language)
        when = f"{self.frees_at:%Y-%m-%d %H:%M} {self.frees_at.tzname()}"
        text = say(f"spending.over_{self.scope}", language, when=when)
        return f"{text} {say('spending.over_soon', language)}" if self.soon else text


class Budget:
    """The caps of the settings, and the ledger. One a process; the sums are shared by all of them."""

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        metrics: Metrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.sessions = sessions
        self.statements = each_alone(sessions)
        self.caps: Caps = caps_of(settings)
        self.prices = settings.llm_prices
        self.zone = ZoneInfo(settings.cap_timezone)
        self.lease = settings.llm_timeout + settings.question_timeout
        self.metrics = metrics
        self.provider = "azure.ai.openai" if settings.llm_azure_endpoint else "openai"
        self._needs_prices = settings.caps_money
        self._clock = clock
        self._tidied: date | None = None

    def purse(self, question: Question, answer_id: uuid.UUID | None = None) -> Purse:
        """What pays for the calls of one question."""
        channel = channel_of(question.platform, question.conversation)
        return Purse(self, question.asker, question.platform, channel, answer_id)

    def check_price(self, model: str) -> None:
        """A cap in dollars cannot be held for a model whose price nobody named."""
        if self._needs_prices and price_of(self.prices, model) is None:
            raise SettingsError(f"ALMANAC_LLM_PRICES has no price of {model} (nor of *), so no cap can hold.")

    def today(self) -> date:
        return self._clock().astimezone(self.zone).date()

    def frees_at(self, window: Window) -> datetime:
        """When the window's next one begins."""
        ends = window.since + timedelta(days=1)
        if window.scope == "month":
            ends = (window.since.replace(day=1) + timedelta(days=32)).replace(day=1)
        return datetime(ends.year, ends.month, ends.day, tzinfo=self.zone)

    def refused(self, over: OverBudget, person: str) -> OverBudget:
        if self.metrics is not None:
            self.metrics.cap_refusals.labels(over.scope).inc()
        log.warning("spending.refused", cap=over.scope, person=person, soon=over.soon)
        return over

    async def tidy(self, day: date) -> None:
        if self._tidied == day:
            return
        self._tidied = day
        async with self.sessions.begin() as session:
            await spending.forget_before(session, day)


@dataclass(slots=True, eq=False)
class Reservation:
    """What one call may cost at most, until its end is known."""

    call: Call
    waited_ms: float
    began: float = field(default_factory=time.perf_counter)
    usage: Usage | None = None
    cached_tokens: int = 0
    ended: bool = False
    sent: bool = True
    failed: bool = False

    def used(self, usage: Usage, cached_tokens: int = 0) -> None:
        """The API has said what the call took."""
        self.usage, self.cached_tokens = usage, cached_tokens

    def unsent(self) -> None:
        """The call never reached the API, or was refused by it: it costs nothing."""
        self.sent = False

    def end(self) -> Ended:
        milliseconds = round((time.perf_counter() - self.began) * 1000, 2)
        if self.usage is not None:
            usage, outcome, estimated = self.usage, "failed" if self.failed else "done", False
        elif not self.sent:
            usage, outcome, estimated = Usage(), "failed", False
        else:  # broken off: nobody will say what it took
            usage = Usage(self.call.prompt_tokens, self.call.completion_tokens, float(self.call.usd))
            outcome, estimated = "unknown", True
        return Ended(
            usage.prompt_tokens, self.cached_tokens, usage.completion_tokens, dollars(usage.cost_usd), milliseconds,
            self.waited_ms, outcome, estimated,
        )  # fmt: skip


class Purse:
    """Pays for the calls of one answer. Several may go on at once."""

    def __init__(self, budget: Budget, person: str, platform: str, channel: str, answer_id: uuid.UUID | None) -> None:
        self._budget = budget
        self._person = person
        self._platform = platform
        self._channel = channel
        self._answer_id = answer_id
        self._counted = Amount()  # spent or held, by this answer
        self.waited = 0.0  # seconds that reservations took

    async def reserve(
        self, model: str, prompt_tokens: int, completion_tokens: int, purpose: str = "write"
    ) -> Reservation:
        """Set aside the most that a call could cost, or raise ``OverBudget``: then it must not be made.

        ``prompt_tokens`` is no less than the prompt has (``pricing.most_tokens``), ``completion_tokens`` the limit
        that the request names.
        """
        began = time.perf_counter()
        self._budget.check_price(model)
        most = priced(self._budget.prices, model, prompt_tokens, completion_tokens)
        day = self._budget.today()
        call = Call(
            uuid.uuid4(), day, self._answer_id, self._person, self._platform, self._channel, model, purpose,
            prompt_tokens, completion_tokens, dollars(most.cost_usd), self._windows(day),
        )  # fmt: skip
        if self._budget.caps.passed("answer", self._counted + call.amount):
            raise self._budget.refused(OverBudget("answer"), self._person)
        self._counted = self._counted + call.amount
        try:
            await self._budget.tidy(day)
            await self._hold(call)
        except BaseException as error:
            self._counted = self._counted - call.amount
            if not isinstance(error, OverBudget):  # broken off, perhaps after it was written: it will not be made
                await self._finished(Reservation(call, 0.0, sent=False))
            raise
        waited = time.perf_counter() - began
        reservation = Reservation(call, round(waited * 1000, 2))
        self.waited += waited
        return reservation

    @asynccontextmanager
    async def call(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, purpose: str = "write"
    ) -> AsyncIterator[Reservation]:
        """Reserve, and settle however the block ends, also when it is cancelled."""
        reservation = await self.reserve(model, prompt_tokens, completion_tokens, purpose)
        with tracing.chat(model, self._budget.provider, purpose, completion_tokens) as span:
            try:
                yield reservation
            except Exception:
                reservation.failed = True
                raise
            finally:
                _tell(span, reservation)
                await self.settle(reservation)

    def _windows(self, day: date) -> tuple[Window, ...]:
        month = Window("month", "", day.replace(day=1))
        person = (Window("person", self._person, day),)
        channel = (Window("channel", self._channel, day),) if self._channel else ()
        return (*person, *channel, Window("day", "", day), month)

    async def _hold(self, call: Call) -> None:
        """Add the call to its sums and the ledger, or to neither."""
        budget = self._budget
        if not budget.caps:  # nothing can be too much, and nothing needs to be taken back
            async with budget.statements() as session:
                await spending.reserve(session, call, budget.lease)
            return
        async with budget.sessions() as session, session.begin() as transaction:
            sums = await spending.reserve(session, call, budget.lease)
            over = next((it for it in call.windows if budget.caps.passed(it.scope, sums[it])), None)
            if over is None:
                return
            await transaction.rollback()
        if budget.caps.passed(over.scope, call.amount):  # no window is large enough for it
            raise budget.refused(OverBudget(over.scope), self._person)
        async with budget.sessions() as session:
            soon = await spending.is_held(session, over)
        raise budget.refused(OverBudget(over.scope, budget.frees_at(over), soon=soon), self._person)

    async def settle(self, reservation: Reservation) -> None:
        """The call has ended; once."""
        if reservation.ended:
            return
        reservation.ended = True
        ended = reservation.end()
        self._counted = self._counted - reservation.call.amount + ended.amount
        self._measure(reservation.call, ended)
        await self._finished(reservation)

    async def _finished(self, reservation: Reservation) -> None:
        """Write how a call ended, also while we are being cancelled."""
        writing = asyncio.ensure_future(self._write(reservation.call, reservation.end()))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # it has a deadline of its own
            raise

    async def _write(self, call: Call, ended: Ended) -> None:
        try:
            async with asyncio.timeout(ENDING_SECONDS), self._budget.statements() as session:
                await spending.end(session, call, ended)
        except (SQLAlchemyError, OSError) as error:  # a TimeoutError is one, too
            log.warning("spending.not_settled", call=str(call.id), error=type(error).__name__)

    def _measure(self, call: Call, ended: Ended) -> None:
        metrics = self._budget.metrics
        if metrics is None:
            return
        metrics.model_calls.labels(call.model, call.purpose, ended.outcome).inc()
        metrics.model_seconds.labels(call.model, call.purpose).observe(ended.milliseconds / 1000)
        metrics.cost.labels(call.model).inc(float(ended.usd))
        metrics.tokens.labels(call.model, "prompt").inc(ended.prompt_tokens)
        metrics.tokens.labels(call.model, "completion").inc(ended.completion_tokens)
        metrics.tokens.labels(call.model, "cached_prompt").inc(ended.cached_tokens)


def _tell(span: tracing.Span, reservation: Reservation) -> None:
    """What the call took, as far as the API said."""
    usage = reservation.usage
    if usage is not None:
        span.put(
            {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
                "gen_ai.usage.cache_read.input_tokens": reservation.cached_tokens or None,
                "almanac.cost_usd": usage.cost_usd,
            }
        )


def dollars(cost: float) -> Decimal:
    """Exact from here on: sums that grow and shrink must come back to where they were."""
    return Decimal(str(round(cost, 8)))
