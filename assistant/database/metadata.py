"""Every table there is: what migrations are held equal to. A file with more tables is named here."""

from __future__ import annotations

from assistant.database import (
    tables_access,
    tables_admin,
    tables_evaluation,
    tables_finetuning,
    tables_guard,
    tables_preferences,
    tables_spending,
    tables_tools,
)
from assistant.database.tables import Base

__all__ = [
    "METADATA",
    "tables_access",
    "tables_admin",
    "tables_evaluation",
    "tables_finetuning",
    "tables_guard",
    "tables_preferences",
    "tables_spending",
    "tables_tools",
]

METADATA = Base.metadata
