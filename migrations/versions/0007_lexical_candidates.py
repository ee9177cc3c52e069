"""the terms that weigh much in a chunk are marked, and a function finds BM25's best with few chunks looked at"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None

TIERS = ("tier_1", "tier_2", "tier_3", "tier_4")

# What assistant.knowledge.impact.marks gives for the chunks that are there, with BM25's k1 = 1.2 and b = 0.75.
MARKED = """
UPDATE chunks SET heavy = ARRAY(
    SELECT CASE tier WHEN 1 THEN term WHEN 2 THEN -term WHEN 3 THEN 1000000000 + term ELSE -1000000000 - term END
    FROM (SELECT term, place, width_bucket(2.2 * f / (f + 1.2 * (0.25 + 0.75 * length / weighted_length)),
                                    ARRAY[1.199, 1.397, 1.595, 1.749]::float8[]) AS tier
          FROM corpus_statistics, unnest(terms, frequencies) WITH ORDINALITY AS posting(term, f, place)) AS weighed
    WHERE tier > 0 ORDER BY place)
"""

COUNTED = """
UPDATE terms t SET tier_1 = c.tier_1, tier_2 = c.tier_2, tier_3 = c.tier_3, tier_4 = c.tier_4
FROM (SELECT CASE WHEN abs(number) > 1000000000 THEN abs(number) - 1000000000 ELSE abs(number) END AS term,
             count(*) FILTER (WHERE number BETWEEN 1 AND 1000000000) AS tier_1,
             count(*) FILTER (WHERE number BETWEEN -1000000000 AND -1) AS tier_2,
             count(*) FILTER (WHERE number > 1000000000) AS tier_3,
             count(*) FILTER (WHERE number < -1000000000) AS tier_4
      FROM chunks, unnest(heavy) AS number GROUP BY 1) AS c
WHERE t.term = c.term
"""

# The ``most`` best chunks by BM25, for the asked terms (each once) with their idf and as the vector of both.
#
# A chunk that was not looked at holds each term at most at the ceiling of the highest tier that was not looked at. So
# the first scan takes the tiers that can give most until some hundred chunks are named; its last result is the
# ``bar``; and of the terms that are left (``others``, the one with the highest ceiling first) only those sets of up to
# three are looked for whose ceilings, with those of all terms after them, reach the bar. What comes out is exact,
# unless that takes more than 32 scans, which questions of some dozen terms can: then the rest is left.
FUNCTION = """
CREATE FUNCTION lexical_candidates(
    asked integer[], idfs float8[], question sparsevec, ceilings float8[],
    who text[], of_documents bigint[], most integer
) RETURNS TABLE (id bigint, bm25 float8) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    first_terms integer[];
    first_marks integer[];
    others integer[];
    ceiling float8[];  -- of the others
    reach float8[];  -- of one of the others and all after it
    ids bigint[];
    scores float8[];
    more_ids bigint[];
    more_scores float8[];
    bar float8;
    alone integer := 0;
    scans integer := 0;
    paired integer;
    last integer;
    head integer[];
    second integer[];
    third integer[];
BEGIN
    IF most <= 0 OR cardinality(asked) = 0 THEN
        RETURN;
    END IF;
    WITH posting AS (
        SELECT a.term, tier, a.idf * ceilings[tier + 1] AS highest,
               CASE tier WHEN 0 THEN t.chunks - tier_1 - tier_2 - tier_3 - tier_4 WHEN 1 THEN tier_1
                         WHEN 2 THEN tier_2 WHEN 3 THEN tier_3 ELSE tier_4 END AS size
        FROM unnest(asked, idfs) AS a(term, idf) JOIN terms t ON t.term = a.term, generate_series(0, 4) AS tier
    ),
    ordered AS (
        SELECT term, tier, highest, sum(size) OVER (ORDER BY highest DESC, term, tier) AS named
        FROM posting WHERE size > 0
    ),
    chosen AS (
        SELECT term, tier, highest, named <= (SELECT greatest(8 * most, 0.5 * cardinality(asked) * sqrt(chunks)) FROM corpus_statistics)
                                    OR named = min(named) OVER () AS first
        FROM ordered
    ),
    rest AS (SELECT term, max(highest) AS highest FROM chosen WHERE NOT first GROUP BY term)
    SELECT (SELECT coalesce(array_agg(term) FILTER (WHERE first AND tier = 0), '{}') FROM chosen),
           (SELECT coalesce(array_agg(CASE tier WHEN 1 THEN term WHEN 2 THEN -term WHEN 3 THEN 1000000000 + term
                                                ELSE -1000000000 - term END) FILTER (WHERE first AND tier > 0), '{}')
            FROM chosen),
           (SELECT array_agg(term ORDER BY highest DESC, term) FROM rest),
           (SELECT array_agg(highest ORDER BY highest DESC, term) FROM rest)
    INTO first_terms, first_marks, others, ceiling;

    SELECT array_agg(best.id ORDER BY best.score, best.id), array_agg(-best.score ORDER BY best.score, best.id)
    INTO ids, scores
    FROM (SELECT c.id, c.weights <#> question AS score FROM chunks c
          WHERE (c.terms && first_terms OR c.heavy && first_marks) AND c.readers && who
          AND (of_documents IS NULL OR c.document_id IN (SELECT unnest(of_documents)))
          ORDER BY score, id LIMIT most) AS best;

    reach := array_fill(0::float8, ARRAY[coalesce(cardinality(others), 0) + 1]);
    FOR i IN REVERSE cardinality(reach) - 1 .. 1 LOOP
        reach[i] := reach[i + 1] + ceiling[i];
    END LOOP;
    bar := coalesce(scores[most], 0) * 0.99999;  -- weights are stored in five digits
    FOR i IN 1 .. cardinality(reach) - 1 LOOP
        EXIT WHEN reach[i] < bar;
        CONTINUE WHEN i <= alone;
        paired := i;
        FOR j IN i .. cardinality(others) LOOP
            EXIT WHEN j > i AND ceiling[i] + reach[j] < bar;
            CONTINUE WHEN j > i AND j <= paired;
            last := j;
            head := others[i:i];
            IF j = i THEN  -- terms that may reach the bar alone
                CONTINUE WHEN ceiling[i] < bar;
                WHILE last < cardinality(others) AND ceiling[last + 1] >= bar LOOP
                    last := last + 1;
                END LOOP;
                alone := last;
                head := others[i:last];
                second := head;
                third := head;
            ELSIF ceiling[i] + ceiling[j] >= bar THEN
                WHILE last < cardinality(others) AND ceiling[i] + ceiling[last + 1] >= bar LOOP
                    last := last + 1;
                END LOOP;
                paired := last;
                second := others[j:last];
                third := second;
            ELSE
                WHILE last < cardinality(others) AND ceiling[i] + ceiling[j] + reach[last + 1] >= bar LOOP
                    last := last + 1;
                END LOOP;
                CONTINUE WHEN last = j;
                second := others[j:j];
                third := others[j + 1:last];
            END IF;
            scans := scans + 1;
            IF scans > 32 THEN
                RETURN QUERY SELECT * FROM unnest(ids, scores);
                RETURN;
            END IF;
            SELECT array_agg(best.id), array_agg(-best.score) INTO more_ids, more_scores
            FROM (SELECT c.id, c.weights <#> question AS score FROM chunks c
                  WHERE c.terms && head AND c.terms && second AND c.terms && third
                  AND c.readers && who AND (of_documents IS NULL OR c.document_id IN (SELECT unnest(of_documents)))
                  AND c.weights <#> question <= -bar
                  ORDER BY score, id LIMIT most) AS best;
            IF more_ids IS NOT NULL THEN
                SELECT array_agg(best.id ORDER BY best.score DESC, best.id),
                       array_agg(best.score ORDER BY best.score DESC, best.id)
                INTO ids, scores
                FROM (SELECT DISTINCT pool.id, pool.score
                      FROM unnest(ids || more_ids, scores || more_scores) AS pool(id, score)
                      ORDER BY score DESC, id LIMIT most) AS best;
                bar := coalesce(scores[most], 0) * 0.99999;
            END IF;
            EXIT WHEN i <= alone;
        END LOOP;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(ids, scores);
END $$
"""

DROP_FUNCTION = (
    "DROP FUNCTION lexical_candidates(integer[], float8[], sparsevec, float8[], text[], bigint[], integer)"
)


def upgrade() -> None:
    op.add_column("chunks", sa.Column("heavy", postgresql.ARRAY(sa.Integer()), nullable=True))
    for tier in TIERS:
        op.add_column("terms", sa.Column(tier, sa.Integer(), nullable=False, server_default="0"))
        op.alter_column("terms", tier, server_default=None)
    op.execute(MARKED)
    op.execute(COUNTED)
    op.alter_column("chunks", "heavy", nullable=False)
    op.create_index(
        "ix_chunks_heavy", "chunks", ["heavy"], postgresql_using="gin", postgresql_with={"fastupdate": "off"}
    )
    op.execute("CLUSTER chunks USING pk_chunks")  # gives back the space of the old rows: half the pages to read
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute(DROP_FUNCTION)
    op.drop_index("ix_chunks_heavy", "chunks")
    op.drop_column("chunks", "heavy")
    for tier in TIERS:
        op.drop_column("terms", tier)
