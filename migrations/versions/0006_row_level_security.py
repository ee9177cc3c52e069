"""what people read is read by a role of its own, which Postgres shows what the audience of its transaction may read"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A role is the whole server's: another database, or a scratch schema, may have made it. Whoever made it may be made a
# member, without which nobody but a superuser can put it on.
ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'almanac_reader') THEN
        BEGIN
            CREATE ROLE almanac_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- another database was faster
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role almanac_reader is missing and may not be created here; let an administrator '
                    'run: CREATE ROLE almanac_reader NOLOGIN; GRANT almanac_reader TO %', quote_ident(current_user);
        END;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'almanac_reader' AND (rolsuper OR rolbypassrls)) THEN
        RAISE EXCEPTION 'the role almanac_reader may bypass row-level security; let an administrator run: '
            'ALTER ROLE almanac_reader NOSUPERUSER NOBYPASSRLS';
    END IF;
    IF NOT pg_has_role(current_user, 'almanac_reader', 'MEMBER')
       OR current_setting('server_version_num')::int >= 160000
          AND NOT pg_has_role(current_user, 'almanac_reader', 'SET') THEN
        BEGIN
            EXECUTE format('GRANT almanac_reader TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'this user is no member of almanac_reader; let an administrator run: '
                'GRANT almanac_reader TO %', quote_ident(current_user);
        END;
    END IF;
END $$
"""

COUNT_READERS = """
CREATE FUNCTION count_readers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO reader_counts AS known (reader, documents)
        SELECT reader, count(*) FROM new_rows, unnest(readers || ''::text) AS reader GROUP BY reader ORDER BY reader
        ON CONFLICT (reader) DO UPDATE SET documents = known.documents + excluded.documents;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO reader_counts AS known (reader, documents)
        SELECT reader, -count(*) FROM old_rows, unnest(readers || ''::text) AS reader GROUP BY reader ORDER BY reader
        ON CONFLICT (reader) DO UPDATE SET documents = known.documents + excluded.documents;
    ELSE
        INSERT INTO reader_counts AS known (reader, documents)
        SELECT reader, sum(one) FROM (
            SELECT unnest(readers) AS reader, 1 AS one FROM new_rows
            UNION ALL SELECT unnest(readers), -1 FROM old_rows) AS changed
        GROUP BY reader HAVING sum(one) <> 0 ORDER BY reader
        ON CONFLICT (reader) DO UPDATE SET documents = known.documents + excluded.documents;
    END IF;
    RETURN NULL;
END $$
"""

TRIGGERS = (
    "CREATE TRIGGER readers_added AFTER INSERT ON documents REFERENCING NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_readers()",
    "CREATE TRIGGER readers_removed AFTER DELETE ON documents REFERENCING OLD TABLE AS old_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_readers()",
    "CREATE TRIGGER readers_changed AFTER UPDATE ON documents REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_readers()",
)

COUNTED = """
INSERT INTO reader_counts (reader, documents)
SELECT reader, count(*) FROM documents, unnest(readers || ''::text) AS reader GROUP BY reader
"""

AUDIENCE = """
CREATE FUNCTION almanac_audience() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(CAST(nullif(current_setting('almanac.readers', true), '') AS text[]), '{}')
"""

# Row-level security looks at a row before any condition that could tell of it, so no index on terms or vectors would be
# used below it. The candidates therefore come from functions that run as the tables' owner and filter by themselves,
# by the transaction's audience; they give ids and scores, and whoever reads the rows behind those is filtered again.
LEXICAL = """
CREATE FUNCTION readable_lexical_candidates(
    asked integer[], idfs float8[], question sparsevec, ceilings float8[], of_documents bigint[], most integer
) RETURNS TABLE (id bigint, bm25 float8) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @PATH AS $$
BEGIN
    RETURN QUERY SELECT * FROM lexical_candidates(
        asked, idfs, question, ceilings, almanac_audience(), of_documents, most);
END $$
"""

# The nearest passages by the vectors of one model. Where the audience sees few of many, an index of all vectors would
# be walked for long, and would miss some: then all it sees are compared. ``share`` is where both cost the same: walking
# takes deep / share steps, comparing share * chunks of twice the cost. Where a part is hidden, the walk goes on for
# longer than it must (``deep``), because what it passes over may be all that is near the question, and the first
# visible rows it meets need not be the nearest. The larger the index, the wider the walk (``hnsw.ef_search``): recall@10
# falls from .985 at 100,000 passages to .858 at a million with 100, and is .984 there with 800 (see benchmarks.md).
NEAREST = """
CREATE FUNCTION @VECTORS_nearest(question halfvec, of_documents bigint[], most integer)
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
        END IF;
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

# How many documents would be among the ``best`` passages for somebody who may read all, as near as ``farthest``, and
# are hidden from the audience. Nothing but this number comes out, and no number beyond ``most``.
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

# Makes the table of a model's vectors readable, for who may read the chunks; called for every new one.
OPEN_VECTORS = """
CREATE FUNCTION open_vectors(name text) RETURNS void LANGUAGE plpgsql AS $open$
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

CLOSE_VECTORS = """
CREATE FUNCTION close_vectors(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS %I, %I', name || '_nearest', name || '_hidden');
END $$
"""

VISIBLE = "readers && (SELECT almanac_audience())"
POLICIES = {
    "documents": VISIBLE,
    "chunks": VISIBLE,
    "sources": "EXISTS (SELECT 1 FROM documents d WHERE d.source_id = sources.id)",
}
READ = "documents, chunks, terms, corpus_statistics, embedding_models"
SOURCE_COLUMNS = "id, kind, location, name, synced_at"  # not config, and nothing about failures
LEXICAL_SIGNATURE = "readable_lexical_candidates(integer[], float8[], sparsevec, float8[], bigint[], integer)"


def upgrade() -> None:
    bind = op.get_bind()
    schema = bind.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    extension = bind.execute(
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace"
            " WHERE extname = 'vector'"
        )
    ).scalar_one()
    path = ", ".join(dict.fromkeys(("pg_catalog", schema, extension, "pg_temp")))
    op.execute(ROLE)
    _count_readers()
    op.execute(AUDIENCE)
    op.execute(LEXICAL.replace("@PATH", path))
    op.execute(
        OPEN_VECTORS.replace("@NEAREST", NEAREST).replace("@HIDDEN", HIDDEN).replace("@PATH", path)
    )  # fmt: skip
    op.execute(CLOSE_VECTORS)
    for function in ("open_vectors(text)", "close_vectors(text)", LEXICAL_SIGNATURE):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {LEXICAL_SIGNATURE} TO almanac_reader")
    op.execute(f"GRANT USAGE ON SCHEMA {schema} TO almanac_reader")
    op.execute(f"GRANT SELECT ON {READ} TO almanac_reader")
    op.execute(f"GRANT SELECT ({SOURCE_COLUMNS}) ON sources TO almanac_reader")
    for table, condition in POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY reading ON {table} FOR SELECT TO almanac_reader USING ({condition})")
    op.execute("SELECT open_vectors('vectors_' || id) FROM embedding_models")


def _count_readers() -> None:
    op.create_table(
        "reader_counts",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reader", name="pk_reader_counts"),
    )
    op.create_index(
        "ix_documents_readers", "documents", ["readers"], postgresql_using="gin", postgresql_with={"fastupdate": "off"}
    )
    op.execute(COUNT_READERS)
    op.execute(COUNTED)
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    """The role stays: it is the whole server's, and without its rights it can do nothing."""
    for (name,) in op.get_bind().execute(sa.text("SELECT 'vectors_' || id FROM embedding_models")).all():
        op.execute(f"SELECT close_vectors('{name}')")
        op.execute(f"DROP POLICY reading ON {name}")
        op.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {name} FROM almanac_reader")
    for table in POLICIES:
        op.execute(f"DROP POLICY reading ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {READ}, sources FROM almanac_reader")
    op.execute(f"REVOKE SELECT ({SOURCE_COLUMNS}) ON sources FROM almanac_reader")  # names of ours  # nosec B608
    for function in ("open_vectors(text)", "close_vectors(text)", LEXICAL_SIGNATURE, "almanac_audience()"):
        op.execute(f"DROP FUNCTION {function}")
    for trigger in ("readers_added", "readers_removed", "readers_changed"):
        op.execute(f"DROP TRIGGER {trigger} ON documents")
    op.execute("DROP FUNCTION count_readers()")
    op.drop_index("ix_documents_readers", "documents")
    op.drop_table("reader_counts")
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    op.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM almanac_reader")
