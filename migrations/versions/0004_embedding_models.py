"""several embedding models side by side: a registry, one table of vectors a model, found by what was embedded"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")
DIMENSIONS = 384  # of the one model that there was until now

# What assistant.knowledge.documents.text_hash gives for a chunk's embedded text. Where lower() and Python's casefold()
# differ, the hash is another one, and the passage is embedded once more when its document is read again.
HASHED = """
UPDATE chunks SET text_hash = CAST(encode(substring(sha256(convert_to(
    concat_ws(' > ', d.title, nullif(array_to_string(ARRAY(
        SELECT part FROM unnest(c.heading_path) WITH ORDINALITY AS path(part, place)
        WHERE lower(part) <> lower(d.title) ORDER BY place
    ), ' > '), '')) || E'\\n' || c.text, 'UTF8')) FOR 16), 'hex') AS uuid)
FROM chunks c JOIN documents d ON d.id = c.document_id WHERE chunks.id = c.id
"""
HNSW = "USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)"


def upgrade() -> None:
    op.create_table(
        "embedding_models",
        sa.Column("id", sa.SmallInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("activated_at", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.CheckConstraint("state IN ('building', 'standby', 'active')", name=op.f("ck_embedding_models_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_embedding_models")),
        sa.UniqueConstraint("name", name=op.f("uq_embedding_models_name")),
    )
    op.create_index(
        "uq_embedding_models_active", "embedding_models", ["state"], unique=True,
        postgresql_where=sa.text("state = 'active'"),
    )  # fmt: skip
    op.create_table(
        "idle_vectors",
        sa.Column("text_hash", sa.UUID(), nullable=False),
        sa.Column("since", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("text_hash", name=op.f("pk_idle_vectors")),
    )
    op.add_column("chunks", sa.Column("text_hash", sa.UUID(), nullable=True))
    op.execute(HASHED)
    op.alter_column("chunks", "text_hash", nullable=False)
    op.create_index("ix_chunks_text_hash", "chunks", ["text_hash"])
    _move_vectors_out()
    op.drop_column("corpus_statistics", "embedding_model")
    op.drop_index("ix_chunks_embedding", "chunks")
    op.drop_column("chunks", "embedding")
    op.execute("CLUSTER chunks USING pk_chunks")  # gives back the space of the old rows: half the pages to read


def _move_vectors_out() -> None:
    registered = op.get_bind().scalar(
        sa.text(
            "INSERT INTO embedding_models (name, dimensions, state, activated_at)"
            " SELECT embedding_model, :dimensions, 'active', now() FROM corpus_statistics"
            " WHERE embedding_model IS NOT NULL RETURNING id"
        ),
        {"dimensions": DIMENSIONS},
    )
    if registered is None:
        return
    table = f"vectors_{registered}"
    op.execute(f"CREATE TABLE {table} (text_hash uuid PRIMARY KEY, embedding halfvec({DIMENSIONS}) NOT NULL)")
    op.execute(f"ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN")
    # In the order of the documents: what is near in meaning lies near on disk, which makes a search a third faster.
    op.execute(
        f"INSERT INTO {table} SELECT text_hash, embedding FROM chunks"  # a name of ours  # nosec B608
        f" WHERE id IN (SELECT min(id) FROM chunks GROUP BY text_hash) ORDER BY id"
    )
    op.execute("SET LOCAL maintenance_work_mem = '512MB'")
    op.execute("SET LOCAL max_parallel_maintenance_workers = 0")
    op.execute(f"CREATE INDEX {table}_hnsw ON {table} {HNSW}")


def downgrade() -> None:
    """The active model's vectors go back into the chunks; the others' are lost."""
    connection = op.get_bind()
    models = connection.execute(sa.text("SELECT id, name, dimensions, state FROM embedding_models")).all()
    active = next((model for model in models if model.state == "active"), None)
    if active is not None and active.dimensions != DIMENSIONS:
        raise RuntimeError(f"Switch to an embedding model of {DIMENSIONS} dimensions first; {active.name} has others.")
    op.add_column("corpus_statistics", sa.Column("embedding_model", sa.Text(), nullable=True))
    op.execute(f"ALTER TABLE chunks ADD COLUMN embedding halfvec({DIMENSIONS})")
    if active is not None:
        connection.execute(sa.text("UPDATE corpus_statistics SET embedding_model = :name"), {"name": active.name})
        op.execute(
            f"UPDATE chunks SET embedding = v.embedding FROM vectors_{active.id} v WHERE v.text_hash = chunks.text_hash"  # a number  # nosec B608
        )
    op.alter_column("chunks", "embedding", nullable=False)
    op.execute(f"CREATE INDEX ix_chunks_embedding ON chunks {HNSW}")
    op.drop_index("ix_chunks_text_hash", "chunks")
    op.drop_column("chunks", "text_hash")
    for model in models:
        op.execute(f"DROP TABLE vectors_{model.id}")
    op.drop_table("idle_vectors")
    op.drop_index("uq_embedding_models_active", "embedding_models")
    op.drop_table("embedding_models")
