"""what the document guard said of each passage when it was read in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Beside the passages and not columns of theirs: when the guard changes, all verdicts are written anew, and a row of
    # a passage stands in five indexes.
    op.create_table(
        "passage_verdicts",
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("judge", sa.UUID(), nullable=False),
        sa.Column("text_key", sa.UUID(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("verdict IN ('allow', 'flag', 'block')", name=op.f("ck_passage_verdicts_verdict")),
        sa.ForeignKeyConstraint(
            ["chunk_id"], ["chunks.id"], name=op.f("fk_passage_verdicts_chunk_id_chunks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("chunk_id", name=op.f("pk_passage_verdicts")),
    )
    # Readable, as the vectors are, for who may read the passage.
    op.execute("GRANT SELECT ON passage_verdicts TO almanac_reader")
    op.execute("ALTER TABLE passage_verdicts ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY reading ON passage_verdicts FOR SELECT TO almanac_reader USING "
        "(EXISTS (SELECT 1 FROM chunks c WHERE c.id = passage_verdicts.chunk_id))"
    )


def downgrade() -> None:
    op.drop_table("passage_verdicts")
