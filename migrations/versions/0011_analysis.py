"""a document bears the number of the text analysis that made its chunks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is there bears 0: the next sync of its source reads it again, and embeds only what has changed by that."""
    op.add_column("documents", sa.Column("analysis", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_documents_analysis", "documents", ["source_id", "analysis"])


def downgrade() -> None:
    op.drop_index("ix_documents_analysis", "documents")
    op.drop_column("documents", "analysis")
