"""Tables of the guards."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import Base


class PassageVerdict(Base):
    """What the document guard said of a passage when it was read in. It goes with the passage.

    ``judge`` is the fingerprint of the guard (``assistant.guardrails.judging``), ``text_key`` the first half of the
    SHA-256 of the text that it saw: a verdict counts where both are those of now.
    """

    __tablename__ = "passage_verdicts"
    __table_args__ = (CheckConstraint("verdict IN ('allow', 'flag', 'block')", name="verdict"),)

    chunk_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    judge: Mapped[uuid.UUID]
    text_key: Mapped[uuid.UUID]
    verdict: Mapped[str]
    score: Mapped[float]
    reasons: Mapped[list[str]]
