"""The tables of the tools: calls that wait for somebody's word, and the record of every call."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NO_ITEMS, NOW, Base


class Approval(Base):
    """One call that changes something, as it was proposed. Only its state and what follows from that ever change.

    ``origin`` is what asked for it: the stored event, else the answer; with ``call_hash`` it is unique, so that a
    question that comes again proposes nothing new. ``call_hash`` covers the tool's name, its source and the arguments,
    ``definition_hash`` the tool as it was described when it was proposed. ``running`` is the moment between the
    decision and the API's word, and holds until ``running_until``; past that, nobody knows: ``unknown``, unless the API
    keeps idempotency keys. ``cards`` are the messages that show it, to be brought up to date.
    """

    __tablename__ = "approvals"
    __table_args__ = (
        UniqueConstraint("origin", "call_hash"),
        CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'denied', 'expired', 'void', 'unknown')", name="state"
        ),
        Index("ix_approvals_open", "expires_at", postgresql_where=text("state IN ('waiting', 'running')")),
        Index("ix_approvals_answer_id", "answer_id"),
        Index("ix_approvals_created_at", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    origin: Mapped[uuid.UUID]
    answer_id: Mapped[uuid.UUID | None]
    platform: Mapped[str]
    conversation: Mapped[str]
    place: Mapped[str]
    requester: Mapped[str]
    requester_name: Mapped[str] = mapped_column(server_default="")
    language: Mapped[str] = mapped_column(server_default="en")
    tool: Mapped[str]
    source: Mapped[str]
    title: Mapped[str]
    call: Mapped[str] = mapped_column(server_default="")  # for people: POST /services/{name}/restart
    arguments: Mapped[dict[str, Any]]
    call_hash: Mapped[str]
    definition_hash: Mapped[str]
    approvers: Mapped[list[str]]
    caller: Mapped[dict[str, Any]]  # whom the call is made as: the requester, and what the requester may
    state: Mapped[str] = mapped_column(server_default="waiting")
    reason: Mapped[str | None]  # why it is void or failed, in one sentence
    expires_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_name: Mapped[str] = mapped_column(server_default="")
    decided_at: Mapped[datetime | None]
    running_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    before: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    cards: Mapped[list[Any]] = mapped_column(server_default=NO_ITEMS)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]


class ToolCall(Base):
    """A call that was made, by whoever and however. What came back is not kept here, only how it went."""

    __tablename__ = "tool_calls"
    __table_args__ = (Index("ix_tool_calls_at", "at"), Index("ix_tool_calls_answer_id", "answer_id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    answer_id: Mapped[uuid.UUID | None]
    approval_id: Mapped[uuid.UUID | None]
    platform: Mapped[str]
    person: Mapped[str]
    tool: Mapped[str]
    source: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    writes: Mapped[bool]
    status: Mapped[int | None]
    error: Mapped[str | None]
    seconds: Mapped[float]
