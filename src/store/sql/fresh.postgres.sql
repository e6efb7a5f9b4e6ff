-- What schema.sql can't say in words that SQLite takes too. Run once, right after it, on a fresh database.

-- The one row: the version of the schema, and of the views and triggers that are made anew when they change.
CREATE TABLE schema_version (
    version        BIGINT NOT NULL,
    derived_sha256 TEXT NOT NULL
);

-- Text compares byte by byte, as in SQLite, whatever the database's locale: pages of a list go by it.
DO $$
DECLARE
    name TEXT;
    field TEXT;
BEGIN
    FOR name, field IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'text' AND table_name IN ('users', 'sessions',
            'user_tokens', 'login_attempts', 'nodes', 'node_tokens', 'node_instances', 'node_enrolments', 'jobs', 'job_secrets', 'chunks',
            'idempotency_keys', 'audit_entries')
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', name, field);
    END LOOP;
END $$;

-- Output is written once and cut at both ends: compressing it costs more than it saves, and a piece of it is read
-- without the rest.
ALTER TABLE chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- Chunks that fell out of the tail stay on disk until they are vacuumed, so that must not wait for a share of the table.
ALTER TABLE chunks SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000);

-- Rows that change often, in columns that no index has: room beside them keeps the change on their page.
ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE nodes SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE node_instances SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE readiness SET (fillfactor = 10);

-- An erased secret is gone from the disk once its row is vacuumed: soon.
ALTER TABLE job_secrets SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1);
