"""The table of what was learned from votes."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base


class PreferenceVersion(Base):
    """A model of what people prefer (``model``), and what it was found to be worth (``report``).

    ``canary`` orders the passages of a ``share`` of conversations since ``tried_at``, ``promoted`` those of all others;
    there is at most one of each. ``candidate`` waits for somebody's word, ``refused`` was no gain (``reason``),
    ``retired`` was in force before. ``embedding`` names the model whose vectors it knows questions by. ``fingerprint``
    is a hash of the votes that it was made from, ``until`` the newest of them. One run makes one version.
    """

    __tablename__ = "preference_versions"
    __table_args__ = (
        CheckConstraint("state IN ('candidate', 'canary', 'promoted', 'retired', 'refused')", name="state"),
        CheckConstraint("(state = 'canary') = (share IS NOT NULL)", name="share"),
        Index("uq_preference_versions_promoted", "state", unique=True, postgresql_where=text("state = 'promoted'")),
        Index("uq_preference_versions_canary", "state", unique=True, postgresql_where=text("state = 'canary'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[uuid.UUID | None] = mapped_column(unique=True)
    state: Mapped[str]
    share: Mapped[float | None]
    reason: Mapped[str | None]
    embedding: Mapped[str]
    model: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    votes: Mapped[int]
    voters: Mapped[int]
    pairs: Mapped[int]
    fingerprint: Mapped[str]
    until: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    tried_at: Mapped[datetime | None]
    promoted_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
