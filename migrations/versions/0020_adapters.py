"""the versions of fine-tuned models: their files' checksums, what they were measured at, and which one answers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())
TIME = sa.DateTime(timezone=True)
EMPTY = sa.text("'{}'::jsonb")
STATES = "'candidate', 'canary', 'promoted', 'retired', 'refused'"


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "base", "kind")),
        sa.Column("state", sa.Text(), server_default="candidate", nullable=False),
        sa.Column("share", sa.Float(), server_default="0", nullable=False),
        sa.Column("files", JSON, server_default=EMPTY, nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("report", JSON, server_default=EMPTY, nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("stored_at", TIME, nullable=True),
        sa.Column("changed_at", TIME, server_default=sa.text("now()"), nullable=False),
        *(sa.Column(name, TIME, nullable=True) for name in ("promoted_at", "rolled_back_at")),
        sa.CheckConstraint("kind IN ('lora', 'dpo')", name=op.f("ck_adapters_kind")),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_adapters_state")),
        sa.CheckConstraint("share >= 0 AND share <= 1", name=op.f("ck_adapters_share")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], ondelete="SET NULL", name=op.f("fk_adapters_run_id_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapters")),
        sa.UniqueConstraint("name", name=op.f("uq_adapters_name")),
        sa.UniqueConstraint("run_id", name=op.f("uq_adapters_run_id")),
    )  # fmt: skip
    for state in ("promoted", "canary"):
        op.create_index(
            f"uq_adapters_{state}", "adapters", ["base"], unique=True, postgresql_where=sa.text(f"state = '{state}'")
        )

    op.create_table(
        "training_opt_outs",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_training_opt_outs")),
    )


def downgrade() -> None:
    op.drop_table("training_opt_outs")
    op.drop_table("adapters")
