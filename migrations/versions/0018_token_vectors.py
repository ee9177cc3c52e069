"""the vectors of each passage's tokens, beside its own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# One table beside each model's vectors, and not a column of theirs: rows that get theirs later would be written anew
# there, and entered into the index of vectors once more. What goes from one table goes from the other with it. The bits
# do not get smaller by compressing. Readable, as the vectors are, for who may read the chunks.
MAKE_TOKENS = """
CREATE FUNCTION make_tokens(model integer) RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    name text := 'tokens_' || model;
BEGIN
    EXECUTE format('CREATE TABLE %I (text_hash uuid PRIMARY KEY REFERENCES %I (text_hash) ON DELETE CASCADE, '
        'tokens bytea NOT NULL)', name, 'vectors_' || model);
    EXECUTE format('ALTER TABLE %I ALTER COLUMN tokens SET STORAGE EXTERNAL', name);
    EXECUTE format('GRANT SELECT ON %I TO almanac_reader', name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY reading ON %1$I FOR SELECT TO almanac_reader USING '
        '(EXISTS (SELECT 1 FROM chunks c WHERE c.text_hash = %1$I.text_hash))', name);
END $make$
"""


def upgrade() -> None:
    op.execute(MAKE_TOKENS)
    op.execute("REVOKE ALL ON FUNCTION make_tokens(integer) FROM PUBLIC")
    op.execute("SELECT make_tokens(id) FROM embedding_models")


def downgrade() -> None:
    for name in op.get_bind().execute(sa.text("SELECT 'tokens_' || id FROM embedding_models")).scalars().all():
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP FUNCTION make_tokens(integer)")
