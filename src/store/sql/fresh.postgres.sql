-- Settings that only PostgreSQL has. Run once on a new database, after schema.sql.

-- One row: the version of the schema, and the hash of derived.postgres.sql when it was last
-- applied.
CREATE TABLE schema_version (
    version        BIGINT NOT NULL,
    derived_sha256 TEXT NOT NULL
);

-- Don't compress output: it costs more than it saves, and parts of a chunk can be read without the
-- rest.
ALTER TABLE chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- Chunks that were dropped from the tail stay on disk until they are vacuumed, so vacuum after a
-- fixed number of rows instead of a share of the table.
ALTER TABLE chunks SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000);

-- Rows that change often in columns without an index: free space on their page makes updates cheap.
ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE nodes SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE node_instances SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE readiness SET (fillfactor = 10);

-- A deleted secret leaves the disk when its row is vacuumed, so vacuum at once.
ALTER TABLE job_secrets SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1);
