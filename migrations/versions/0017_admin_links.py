"""links that let administrators in on the web page, and the sessions that come of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "admin_links",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("opens_until", TIME, nullable=False),
        sa.Column("session_hash", sa.Text(), nullable=True),
        sa.Column("session_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_admin_links"),
        sa.UniqueConstraint("token_hash", name="uq_admin_links_token_hash"),
        sa.UniqueConstraint("session_hash", name="uq_admin_links_session_hash"),
    )
    op.create_index("ix_admin_links_person", "admin_links", ["person"])


def downgrade() -> None:
    op.drop_table("admin_links")
