"""where what is near a question is hidden from whoever asks, the vectors' arm walks further, or compares all they see"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0011"
branch_labels = None
depends_on = None

# As 0006's, but for ``near_by``: of the nearest passages of all, how many the audience may read. Where that is less than
# half of what its share of the documents promises, the question is about something that is hidden from it, and the
# nearest of what it sees lie scattered far behind: a walk of four times the candidates misses a tenth of them (recall@10
# .904 with half of 100,000 passages visible, .921 with a tenth). Then up to 20,000 visible passages are compared one by
# one, and of more the walk is four times as deep and eight times as wide (.986, 1.000). Few questions pay for it: where
# the visible ones lie here and there, recall is .996 and more without.
NEAREST = """
CREATE OR REPLACE FUNCTION @VECTORS_nearest(question halfvec, of_documents bigint[], most integer)
RETURNS TABLE (id bigint, distance float8) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @PATH
SET plan_cache_mode = force_generic_plan SET enable_sort = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    who text[] := almanac_audience();
    ids bigint[];
    distances float8[];
    share float8;
    visible float8;
    everything float8;
    size float8;
    deep integer := most;
    near_by integer;
BEGIN
    IF most <= 0 OR cardinality(who) = 0 THEN
        RETURN;
    END IF;
    SELECT sqrt(2.0 * most / greatest(chunks, 1)), chunks INTO share, size FROM corpus_statistics;
    PERFORM set_config('hnsw.ef_search', CASE WHEN size > 700000 THEN '800' WHEN size > 400000 THEN '400'
        WHEN size > 150000 THEN '200' ELSE '100' END, true);
    SELECT coalesce(sum(documents) FILTER (WHERE reader <> ''), 0), coalesce(sum(documents) FILTER (WHERE reader = ''), 0)
    INTO visible, everything FROM reader_counts WHERE reader = ANY(who || ''::text);
    IF of_documents IS NOT NULL THEN
        visible := least(visible, cardinality(of_documents));
    END IF;
    IF visible > share * everything THEN
        IF visible < 0.9 * everything THEN
            deep := 4 * most;
@DEEPER
        END IF;
    END IF;
    IF deep > 0 AND visible > share * everything THEN
        SELECT array_agg(near.id), array_agg(near.distance) INTO ids, distances
        FROM (SELECT c.id, v.embedding <=> question AS distance FROM @VECTORS v JOIN chunks c USING (text_hash)
              WHERE c.readers && who AND (of_documents IS NULL OR c.document_id IN (SELECT unnest(of_documents)))
              ORDER BY v.embedding <=> question LIMIT deep) AS near;
        IF cardinality(ids) >= deep OR cardinality(ids) >= most AND visible * size > 50000 * everything THEN
            RETURN QUERY SELECT * FROM unnest(ids, distances) AS n(id, distance)
                         ORDER BY distance, id LIMIT most;
            RETURN;
        END IF;
    END IF;
    IF of_documents IS NULL THEN
        RETURN QUERY
        SELECT c.id, (v.embedding <=> question) + 0 AS distance
        FROM documents d JOIN chunks c ON c.document_id = d.id JOIN @VECTORS v USING (text_hash)
        WHERE d.readers && who AND c.readers && who ORDER BY distance, c.id LIMIT most;
    ELSE
        RETURN QUERY
        SELECT c.id, (v.embedding <=> question) + 0 AS distance
        FROM unnest(of_documents) AS d(id) JOIN chunks c ON c.document_id = d.id JOIN @VECTORS v USING (text_hash)
        WHERE c.readers && who ORDER BY distance, c.id LIMIT most;
    END IF;
END $$
"""

DEEPER = """\
            SELECT count(*) INTO near_by
            FROM (SELECT c.readers, c.document_id FROM @VECTORS v JOIN chunks c USING (text_hash)
                  ORDER BY v.embedding <=> question LIMIT most) AS near
            WHERE near.readers && who AND (of_documents IS NULL OR near.document_id IN (SELECT unnest(of_documents)));
            IF near_by * everything < 0.5 * visible * most THEN
                deep := CASE WHEN visible * size < 20000 * everything THEN 0 ELSE 16 * most END;
                PERFORM set_config('hnsw.ef_search', '800', true);
            END IF;"""

# 0006's, as they were.
HIDDEN = """
CREATE FUNCTION @VECTORS_hidden(
    question halfvec, farthest float8, best integer, of_sources bigint[], most integer
) RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @PATH
SET plan_cache_mode = force_generic_plan SET enable_sort = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        SELECT least(count(DISTINCT near.document_id), most)
        FROM (SELECT c.document_id, c.readers, v.embedding <=> question AS distance
              FROM @VECTORS v JOIN chunks c USING (text_hash)
              WHERE of_sources IS NULL
                 OR c.document_id IN (SELECT d.id FROM documents d WHERE d.source_id = ANY(of_sources))
              ORDER BY v.embedding <=> question LIMIT best) AS near
        WHERE near.distance <= farthest AND NOT near.readers && almanac_audience());
END $$
"""

OPEN_VECTORS = """
CREATE OR REPLACE FUNCTION open_vectors(name text) RETURNS void LANGUAGE plpgsql AS $open$
BEGIN
    EXECUTE format('GRANT SELECT ON %I TO almanac_reader', name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY reading ON %1$I FOR SELECT TO almanac_reader USING '
        '(EXISTS (SELECT 1 FROM chunks c WHERE c.text_hash = %1$I.text_hash))', name);
    EXECUTE replace($nearest$@NEAREST$nearest$, '@VECTORS', name);
    EXECUTE replace($hidden$@HIDDEN$hidden$, '@VECTORS', name);
    EXECUTE format('REVOKE ALL ON FUNCTION %I, %I FROM PUBLIC', name || '_nearest', name || '_hidden');
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I, %I TO almanac_reader', name || '_nearest', name || '_hidden');
END $open$
"""


def _place() -> str:
    """The search path of the functions: what 0006 gave them."""
    bind = op.get_bind()
    schema = bind.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    extension = bind.execute(
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace"
            " WHERE extname = 'vector'"
        )
    ).scalar_one()
    return ", ".join(dict.fromkeys(("pg_catalog", schema, extension, "pg_temp")))


def _make(nearest: str) -> None:
    """For the models that there are, and for those to come. Who may call it stays as it is."""
    path = _place()
    op.execute(OPEN_VECTORS.replace("@NEAREST", nearest).replace("@HIDDEN", HIDDEN).replace("@PATH", path))
    names = op.get_bind().execute(sa.text("SELECT 'vectors_' || id FROM embedding_models")).scalars().all()
    for name in names:
        op.execute(nearest.replace("@PATH", path).replace("@VECTORS", name))


def upgrade() -> None:
    _make(NEAREST.replace("@DEEPER", DEEPER))


def downgrade() -> None:
    _make(NEAREST.replace("@DEEPER", ""))
