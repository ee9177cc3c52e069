"""what the chat platforms need: channel settings, uploads, audit, answers that are private, stopped or withdrawn"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
INBOX_STATES = "state IN ('received', 'working', 'done', 'failed'{})"
OUTCOMES = (
    "outcome IN ('answered', 'not_in_documents', 'hidden_by_permissions', 'over_limit', 'waiting_for_approval'{}, "
    "'failed')"
)


def upgrade() -> None:
    op.add_column(
        "sources",
        sa.Column("readers", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{everyone}'::text[]"), nullable=False),
    )
    op.add_column("sources", sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("answers", sa.Column("asker_name", sa.Text(), server_default="", nullable=False))
    op.add_column("answers", sa.Column("private", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("answers", sa.Column("language", sa.Text(), server_default="en", nullable=False))
    op.add_column("answers", sa.Column("confidence", sa.Float(), nullable=True))
    op.add_column("answers", sa.Column("unprompted", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("answers", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_answers_asker", "answers", ["asker", "created_at"])
    op.create_index("ix_answers_created", "answers", ["created_at"])
    _constrain("inbox", "state", INBOX_STATES.format(", 'cancelled'"))
    _constrain("answers", "outcome", OUTCOMES.format(", 'stopped'"))
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "channel_settings",
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("platform", "channel", name=op.f("pk_channel_settings")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_uploads_source_id_sources"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_table(
        "forgotten",
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_forgotten_source_id_sources"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source_id", "external_id", name=op.f("pk_forgotten")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def downgrade() -> None:
    for table in ("audit", "forgotten", "uploads", "channel_settings"):
        op.drop_table(table)
    op.execute("UPDATE inbox SET state = 'done' WHERE state = 'cancelled'")
    op.execute("UPDATE answers SET outcome = 'failed' WHERE outcome = 'stopped'")
    _constrain("inbox", "state", INBOX_STATES.format(""))
    _constrain("answers", "outcome", OUTCOMES.format(""))
    op.drop_index("ix_answers_created", "answers")
    op.drop_index("ix_answers_asker", "answers")
    for column in ("withdrawn_at", "unprompted", "confidence", "language", "private", "asker_name"):
        op.drop_column("answers", column)
    op.drop_column("sources", "synced_at")
    op.drop_column("sources", "readers")


def _constrain(table: str, name: str, condition: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
