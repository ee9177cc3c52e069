"""Tables of what lets programs in on somebody's behalf."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base


class AccessToken(Base):
    """A key that lets a program ask as a person. Only its hash is stored.

    ``principals`` is what the person could be called by when it was made (groups are looked up at each question).
    """

    __tablename__ = "access_tokens"
    __table_args__ = (Index("ix_access_tokens_person", "person"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    token_hash: Mapped[str] = mapped_column(unique=True)
    person: Mapped[str]
    platform: Mapped[str]
    principals: Mapped[list[str]]
    language: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
