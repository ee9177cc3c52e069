"""sources that are synced: options, cursors, schedules, failures that are tried again, runs that go on where they were"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())
TIME = sa.DateTime(timezone=True)


def _columns() -> dict[str, list[sa.Column]]:
    return {
        "sources": [
            sa.Column("config", JSON, server_default=sa.text("'{}'::jsonb"), nullable=False),
            sa.Column("cursor", JSON, nullable=True),
            sa.Column("interval_minutes", sa.Integer(), server_default="0", nullable=False),
            sa.Column("next_sync_at", TIME, nullable=True),
            sa.Column("busy_run", sa.UUID(), nullable=True),
            sa.Column("error", sa.Text(), nullable=True),
            sa.Column("failed_syncs", sa.Integer(), server_default="0", nullable=False),
            sa.Column("drift", JSON, nullable=True),
            sa.Column("reconciled_at", TIME, nullable=True),
        ],
        "documents": [sa.Column("version", sa.Text(), nullable=True)],
        "document_failures": [
            sa.Column("version", sa.Text(), nullable=True),
            sa.Column("transient", sa.Boolean(), server_default=sa.text("false"), nullable=False),
            sa.Column("next_at", TIME, nullable=True),
        ],
        "runs": [
            sa.Column("stalled", sa.Integer(), server_default="0", nullable=False),
            sa.Column("not_before", TIME, nullable=True),
            sa.Column("checkpoint", JSON, nullable=True),
        ],
    }


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "sightings",
        sa.Column("listing", sa.UUID(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("listing", "external_id", name=op.f("pk_sightings")),
    )
    op.create_table(
        "group_members",
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_group_members_source_id_sources"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source_id", "principal", "member", name=op.f("pk_group_members")),
    )
    op.create_index("ix_group_members_member", "group_members", ["member"])


def downgrade() -> None:
    op.drop_index("ix_group_members_member", "group_members")
    op.drop_table("group_members")
    op.drop_table("sightings")
    for table, columns in _columns().items():
        for column in reversed(columns):
            op.drop_column(table, column.name)
