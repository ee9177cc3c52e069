"""what model calls cost: a ledger of every call, and the sums that the caps are held against"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0013"
branch_labels = None
depends_on = None

DOLLARS = sa.Numeric(20, 8)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "model_calls",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("answer_id", sa.UUID(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("person", "platform", "channel", "model", "purpose")),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", DOLLARS, nullable=False),
        sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("milliseconds", sa.Float(), nullable=True),
        sa.Column("waited_ms", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), server_default="open", nullable=False),
        sa.Column("held_until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_calls")),
        sa.CheckConstraint("outcome IN ('open', 'done', 'failed', 'unknown')", name=op.f("ck_model_calls_outcome")),
    )
    op.create_index("ix_model_calls_at", "model_calls", ["at"])
    op.create_index("ix_model_calls_answer_id", "model_calls", ["answer_id"])
    op.create_index(
        "ix_model_calls_open", "model_calls", ["held_until"], postgresql_where=sa.text("outcome = 'open'")
    )
    op.create_table(
        "spending_totals",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("usd", DOLLARS, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", "since", name=op.f("pk_spending_totals")),
        sa.CheckConstraint("scope IN ('person', 'channel', 'day', 'month')", name=op.f("ck_spending_totals_scope")),
    )


def downgrade() -> None:
    op.drop_table("spending_totals")
    op.drop_table("model_calls")
