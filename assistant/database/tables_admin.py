"""The table of what lets administrators in on the web page without a token."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from assistant.database.tables import NOW, Base


class AdminLink(Base):
    """A link that opens the administrators' page once, and the session that came of it. Only hashes are stored.

    ``granted``: the platform, not the settings, called the person an administrator when the link was made.
    """

    __tablename__ = "admin_links"
    __table_args__ = (Index("ix_admin_links_person", "person"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    token_hash: Mapped[str] = mapped_column(unique=True)
    person: Mapped[str]
    name: Mapped[str]
    platform: Mapped[str]
    granted: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    opens_until: Mapped[datetime]
    session_hash: Mapped[str | None] = mapped_column(unique=True)
    session_until: Mapped[datetime | None]
