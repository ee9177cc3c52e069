"""answers that may be given again to the same question over the same passages"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "cached_answers",
        sa.Column("answer_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.UUID(), nullable=False),
        sa.Column("seen", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"], ["answers.id"], name=op.f("fk_cached_answers_answer_id_answers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_cached_answers")),
    )
    op.create_index("ix_cached_answers_key", "cached_answers", ["key", "kept_at"])
    op.create_index("ix_cached_answers_kept_at", "cached_answers", ["kept_at"])
    op.create_table(
        "cache_uses",
        sa.Column("answer_id", sa.UUID(), nullable=False),
        sa.Column("source", sa.UUID(), nullable=False),
        sa.Column("at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["source"], ["cached_answers.answer_id"], name=op.f("fk_cache_uses_source_cached_answers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_cache_uses")),
    )  # fmt: skip
    op.create_index("ix_cache_uses_source", "cache_uses", ["source"])


def downgrade() -> None:
    op.drop_table("cache_uses")
    op.drop_table("cached_answers")
