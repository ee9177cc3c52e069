"""since when a version of what was learned from votes is tried on a share of the conversations"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("preference_versions", sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True))
    # What is tried already: as from now, since its answers so far do not say by which share they drew.
    op.execute("UPDATE preference_versions SET tried_at = now() WHERE state = 'canary'")


def downgrade() -> None:
    op.drop_column("preference_versions", "tried_at")
