"""what was learned from votes: its versions, and what an answer was searched by"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "preference_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("embedding", sa.Text(), nullable=False),
        sa.Column("model", JSON, nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("voters", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("promoted_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('candidate', 'canary', 'promoted', 'retired', 'refused')",
            name=op.f("ck_preference_versions_state"),
        ),
        sa.CheckConstraint("(state = 'canary') = (share IS NOT NULL)", name=op.f("ck_preference_versions_share")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preference_versions")),
        sa.UniqueConstraint("run_id", name=op.f("uq_preference_versions_run_id")),
    )
    for state in ("promoted", "canary"):
        op.create_index(
            f"uq_preference_versions_{state}", "preference_versions", ["state"], unique=True,
            postgresql_where=sa.text(f"state = '{state}'"),
        )  # fmt: skip
    op.add_column("answers", sa.Column("searched", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("answers", "searched")
    op.drop_table("preference_versions")
