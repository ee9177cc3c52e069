"""The tables of evaluation: what was measured, and what each case came to."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base


class EvaluationRun(Base):
    """One measurement of a suite on a set of cases. The newest accepted one is what later ones are compared with.

    ``metrics``: name -> {value, low, high, cases, better, gate, title}; ``about``: what it was measured with, and
    which parts were skipped, with the reason.
    """

    __tablename__ = "evaluation_runs"
    __table_args__ = (
        CheckConstraint("suite IN ('answers', 'safety', 'tools')", name="suite"),
        Index("ix_evaluation_runs_subject", "suite", "subject", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    suite: Mapped[str]
    subject: Mapped[str]
    model: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    about: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    accepted_at: Mapped[datetime | None]


class EvaluationResult(Base):
    """One case of a run. ``counts``: metric -> [numerator, denominator]; a metric is the ratio of their sums."""

    __tablename__ = "evaluation_results"

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("evaluation_runs.id", ondelete="CASCADE"), primary_key=True)
    case_id: Mapped[str] = mapped_column(primary_key=True)  # unique in its part: "bfcl.simple_python/simple_python_0"
    place: Mapped[int]
    title: Mapped[str]
    counts: Mapped[dict[str, Any]]
    detail: Mapped[dict[str, Any]]
