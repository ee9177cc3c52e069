"""The tables of what model calls cost: each call, the sums that caps are held against, and answers to give again."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Index, Integer, LargeBinary, Numeric, false, text
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base

Dollars = Numeric(20, 8)


class ModelCall(Base):
    """One request to a model. Until its end is known (``open``) it counts with the most that it could cost.

    ``day`` is the day, in the caps' time zone, that it counts to. A call whose process died stays open past
    ``held_until`` and is then shown as unknown; it goes on counting. ``estimated``: its numbers are that bound still.
    ``waited_ms`` is what its reservation took.
    """

    __tablename__ = "model_calls"
    __table_args__ = (
        CheckConstraint("outcome IN ('open', 'done', 'failed', 'unknown')", name="outcome"),
        Index("ix_model_calls_at", "at"),
        Index("ix_model_calls_answer_id", "answer_id"),
        Index("ix_model_calls_open", "held_until", postgresql_where=text("outcome = 'open'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    day: Mapped[date] = mapped_column(Date)
    answer_id: Mapped[uuid.UUID | None]
    person: Mapped[str]
    platform: Mapped[str]
    channel: Mapped[str]
    model: Mapped[str]
    purpose: Mapped[str]
    prompt_tokens: Mapped[int] = mapped_column(Integer)
    cached_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    completion_tokens: Mapped[int] = mapped_column(Integer)
    cost_usd: Mapped[Decimal] = mapped_column(Dollars)
    estimated: Mapped[bool] = mapped_column(server_default=false())
    milliseconds: Mapped[float | None]
    waited_ms: Mapped[float | None]
    outcome: Mapped[str] = mapped_column(server_default="open")
    held_until: Mapped[datetime]


class SpendingTotal(Base):
    """What was spent or is held in one window: by a person or in a channel on a day, or by everybody on a day or in a
    month. ``name`` is empty for everybody; ``since`` is the window's first day."""

    __tablename__ = "spending_totals"
    __table_args__ = (CheckConstraint("scope IN ('person', 'channel', 'day', 'month')", name="scope"),)

    scope: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[date] = mapped_column(Date, primary_key=True)
    usd: Mapped[Decimal] = mapped_column(Dollars)
    tokens: Mapped[int] = mapped_column(BigInteger)


class CachedAnswer(Base):
    """An answer that may be given again. ``key`` is a hash of how it was asked for and of its question's words
    (``assistant.answering.likeness``); ``seen`` the passages that the model had: chunk -> hash of what it read;
    ``vector`` the question's, as half floats."""

    __tablename__ = "cached_answers"
    __table_args__ = (Index("ix_cached_answers_key", "key", "kept_at"), Index("ix_cached_answers_kept_at", "kept_at"))

    answer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[uuid.UUID]
    seen: Mapped[dict[str, Any]]
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    kept_at: Mapped[datetime] = mapped_column(server_default=NOW)


class CacheUse(Base):
    """An answer that was another's text given again: votes on it count for that one, too."""

    __tablename__ = "cache_uses"

    answer_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source: Mapped[uuid.UUID] = mapped_column(ForeignKey("cached_answers.answer_id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
