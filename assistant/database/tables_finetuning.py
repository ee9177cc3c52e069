"""Fine-tuned models: every version of an adapter, what it was measured at, whether it answers; and who trains none."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base


class Adapter(Base):
    """One version. ``files``: path -> SHA-256, which the stored files must have; ``bytes``: all of them together.

    ``candidate``: kept, and asked only by its name. ``canary``: answers ``share`` of the conversations. ``promoted``:
    answers the others; of one base there is one. ``retired``: was promoted. ``refused``: the gate found no gain, or a
    loss. It is listed from ``stored_at`` on, when all its files are where they belong; ``rolled_back_at`` says that a
    rollback took it out of force, and none brings it back.
    """

    __tablename__ = "adapters"
    __table_args__ = (
        CheckConstraint("kind IN ('lora', 'dpo')", name="kind"),
        CheckConstraint("state IN ('candidate', 'canary', 'promoted', 'retired', 'refused')", name="state"),
        CheckConstraint("share >= 0 AND share <= 1", name="share"),
        Index("uq_adapters_promoted", "base", unique=True, postgresql_where=text("state = 'promoted'")),
        Index("uq_adapters_canary", "base", unique=True, postgresql_where=text("state = 'canary'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    base: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="candidate")
    share: Mapped[float] = mapped_column(server_default="0")
    files: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    report: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    stored_at: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    promoted_at: Mapped[datetime | None]
    rolled_back_at: Mapped[datetime | None]


class TrainingOptOut(Base):
    """Somebody whose questions and votes no model is trained on."""

    __tablename__ = "training_opt_outs"

    person: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
