-- When nodes became ONLINE or OFFLINE.
CREATE TABLE node_status_changes (
    node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at      TIMESTAMPTZ NOT NULL,
    online  BIGINT NOT NULL,
    PRIMARY KEY (node_id, at)
);

-- Counts of the jobs that ended within a time read only this index.
DROP INDEX jobs_finished;
CREATE INDEX jobs_finished ON jobs (finished_at, status, kind, created_by) WHERE finished_at IS NOT NULL;
