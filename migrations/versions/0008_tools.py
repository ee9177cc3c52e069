"""calls of tools: those that wait for somebody's approval, the record of all, and what an answer called"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0012"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())
TIME = sa.DateTime(timezone=True)
STATES = "'waiting', 'running', 'done', 'failed', 'denied', 'expired', 'void', 'unknown'"


def upgrade() -> None:
    for name in ("calls", "approvals"):
        op.add_column("answers", sa.Column(name, JSON, server_default=sa.text("'[]'::jsonb"), nullable=False))
    op.create_table(
        "approvals",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("origin", sa.UUID(), nullable=False),
        sa.Column("answer_id", sa.UUID(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("platform", "conversation", "place", "requester")),
        sa.Column("requester_name", sa.Text(), server_default="", nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("tool", "source", "title")),
        sa.Column("call", sa.Text(), server_default="", nullable=False),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("call_hash", sa.Text(), nullable=False),
        sa.Column("definition_hash", sa.Text(), nullable=False),
        sa.Column("approvers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("caller", JSON, nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_name", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", TIME, nullable=True),
        sa.Column("running_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("before", JSON, nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("cards", JSON, server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_approvals_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("origin", "call_hash", name=op.f("uq_approvals_origin_call_hash")),
    )
    open_ones = sa.text("state IN ('waiting', 'running')")
    op.create_index("ix_approvals_open", "approvals", ["expires_at"], postgresql_where=open_ones)
    op.create_index("ix_approvals_answer_id", "approvals", ["answer_id"])
    op.create_index("ix_approvals_created_at", "approvals", ["created_at"])
    _record()


def _record() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("answer_id", sa.UUID(), nullable=True),
        sa.Column("approval_id", sa.UUID(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("platform", "person", "tool", "source")),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("writes", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_calls")),
    )
    op.create_index("ix_tool_calls_at", "tool_calls", ["at"])
    op.create_index("ix_tool_calls_answer_id", "tool_calls", ["answer_id"])


def downgrade() -> None:
    op.drop_table("tool_calls")
    op.drop_table("approvals")
    op.drop_column("answers", "approvals")
    op.drop_column("answers", "calls")
