"""which documents hold which blocks word for word, so that what stands on many pages is searched once; failures within a document"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "block_keys",
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], ondelete="CASCADE", name="fk_block_keys_document_id_documents"
        ),
        sa.PrimaryKeyConstraint("source_id", "key", "document_id", name="pk_block_keys"),
    )
    op.create_index("ix_block_keys_document_id", "block_keys", ["document_id"])
    op.create_table(
        "documents_again",
        sa.Column("document_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tried", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], ondelete="CASCADE", name="fk_documents_again_document_id_documents"
        ),
        sa.PrimaryKeyConstraint("document_id", name="pk_documents_again"),
    )
    op.add_column("document_failures", sa.Column("within", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM document_failures WHERE within IS NOT NULL")
    op.drop_column("document_failures", "within")
    op.drop_table("documents_again")
    op.drop_table("block_keys")
