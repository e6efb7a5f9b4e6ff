-- What each node should be like, and what the last check found.
ALTER TABLE jobs ADD COLUMN new_drift BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_checked ON jobs (node_id, preset, id) WHERE kind = 'check' AND status = 'SUCCEEDED';

CREATE TABLE drift (
    node_id        TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    preset         TEXT NOT NULL,
    params         TEXT NOT NULL,
    applied_job_id TEXT NOT NULL,
    applied_at     TIMESTAMPTZ NOT NULL,
    check_params   TEXT,
    check_job_id   TEXT,
    checked_at     TIMESTAMPTZ,
    steps          TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (node_id, preset)
);

-- The last apply of each preset that succeeded on each node. '-' is a script without a preset.
INSERT INTO drift (node_id, preset, params, applied_job_id, applied_at)
SELECT node_id, preset, params, id, coalesce(finished_at, created_at) FROM jobs
WHERE id IN (
    SELECT max(id) FROM jobs WHERE kind = 'apply' AND status = 'SUCCEEDED' AND preset <> '-'
    GROUP BY node_id, preset)
AND node_id IN (SELECT id FROM nodes);
