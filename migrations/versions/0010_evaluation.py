"""evaluations: what was measured, what each case came to, and which run is the accepted one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "evaluation_runs",
        sa.Column("id", sa.UUID(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("suite", "subject", "model")),
        *(sa.Column(name, JSON, nullable=False) for name in ("metrics", "about")),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("accepted_at", TIME, nullable=True),
        sa.CheckConstraint("suite IN ('answers', 'safety', 'tools')", name=op.f("ck_evaluation_runs_suite")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_runs")),
    )
    op.create_index("ix_evaluation_runs_subject", "evaluation_runs", ["suite", "subject", "created_at"])
    op.create_table(
        "evaluation_results",
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        *(sa.Column(name, JSON, nullable=False) for name in ("counts", "detail")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["evaluation_runs.id"], ondelete="CASCADE",
            name=op.f("fk_evaluation_results_run_id_evaluation_runs"),
        ),
        sa.PrimaryKeyConstraint("run_id", "case_id", name=op.f("pk_evaluation_results")),
    )


def downgrade() -> None:
    op.drop_table("evaluation_results")
    op.drop_table("evaluation_runs")
