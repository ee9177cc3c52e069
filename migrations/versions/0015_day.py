"""the day of a document is a column, by which after: and before: find theirs in an index"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# What the document says itself, else what its source says, else when this state of it was first read. Of a hundred
# thousand documents, taking that from each anew cost a question with a date five times what reading them cost. Dates can
# be compared below a row-level policy, by an index, too; a pattern (the names of people, titles) cannot.
DAY = r"""
CREATE FUNCTION document_day(details jsonb, indexed_at timestamptz) RETURNS date
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    said text;
    found text[];
BEGIN
    FOREACH said IN ARRAY ARRAY[details->>'updated', details->>'modified'] LOOP
        found := regexp_match(said, '^(\d{4})-(\d\d)(?:-(\d\d))?');
        CONTINUE WHEN found IS NULL;
        BEGIN
            RETURN make_date(found[1]::integer, found[2]::integer, coalesce(found[3], '1')::integer);
        EXCEPTION WHEN datetime_field_overflow THEN
            NULL;  -- no day of any calendar: the next one that is said
        END;
    END LOOP;
    RETURN CAST(indexed_at AT TIME ZONE 'UTC' AS date);
END $$
"""


def upgrade() -> None:
    op.execute(DAY)
    computed = sa.Computed("document_day(details, indexed_at)", persisted=True)
    op.add_column("documents", sa.Column("day", sa.Date(), computed, nullable=False))
    op.create_index("ix_documents_day", "documents", ["day"])


def downgrade() -> None:
    op.drop_index("ix_documents_day", "documents")
    op.drop_column("documents", "day")
    op.execute("DROP FUNCTION document_day(jsonb, timestamptz)")
