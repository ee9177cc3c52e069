-- Once for each installation, as the database's master: the roles that Almanac uses, and pgvector.
--
--   almanac         owns the tables, migrates, writes
--   almanac_reader  sees only the rows that the audience of its transaction may read; nobody logs in as it
--   almanac_web     logs in for searching, and is nothing but a member of almanac_reader
--
-- Passwords come out of the URLs that Terraform has put into the secret store, so that nobody has to type or see one.
-- Run again, it sets the passwords that stand there now: that is how they are rotated (docs/deploy.md).
--
--   PGHOST=… PGUSER=almanac_master PGPASSWORD=… PGDATABASE=almanac \
--   ALMANAC_DATABASE_URL=… ALMANAC_READER_URL=… psql -f database.sql

\set ON_ERROR_STOP on
\getenv owner_url ALMANAC_DATABASE_URL
\getenv reader_url ALMANAC_READER_URL

-- Passwords travel as settings of this session: pg_stat_statements keeps constants of a SELECT as $1, but the text of an
-- ALTER ROLE word for word, unless something else executes it.
SELECT set_config('bootstrap.almanac', substring(:'owner_url' FROM '^postgres(?:ql)?://[^:@/]+:([^@/]+)@'), false) <> ''
   AND set_config('bootstrap.almanac_web', substring(:'reader_url' FROM '^postgres(?:ql)?://[^:@/]+:([^@/]+)@'), false) <> ''
    AS passwords_found \gset
\if :passwords_found
\else
  DO $$ BEGIN RAISE EXCEPTION 'ALMANAC_DATABASE_URL or ALMANAC_READER_URL has no password'; END $$;
\endif

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['almanac_reader', 'almanac', 'almanac_web'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I', name);
    END IF;
  END LOOP;
  FOREACH name IN ARRAY ARRAY['almanac', 'almanac_web'] LOOP
    EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L', name, current_setting('bootstrap.' || name));
  END LOOP;
END
$$;

GRANT almanac_reader TO almanac, almanac_web;

CREATE EXTENSION IF NOT EXISTS vector;

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())
UNION ALL SELECT format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO almanac', current_database())
UNION ALL SELECT format('GRANT CONNECT ON DATABASE %I TO almanac_web', current_database())
\gexec

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO almanac;
