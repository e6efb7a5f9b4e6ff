-- A list with a rare status or an unknown preset must not scan all jobs.
CREATE INDEX jobs_preset ON jobs (preset, id);
CREATE INDEX jobs_ended ON jobs (status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE INDEX jobs_ended_owner ON jobs (created_by, status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

-- Jobs are claimed by their place in the node's queue, so that a change of the clock does not
-- change the order.
ALTER TABLE jobs ADD COLUMN queue_no BIGINT NOT NULL DEFAULT 0;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (node_id, queue_no, created_at, id) WHERE status = 'QUEUED';

-- A claim is sent again only to the process that made it.
ALTER TABLE jobs ADD COLUMN claimed_process TEXT;
ALTER TABLE nodes ADD COLUMN copied_at TIMESTAMPTZ;

-- Scripts that still run although their job has ended here.
ALTER TABLE jobs ADD COLUMN still_running BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_still_running ON jobs (node_id, claimed_by) WHERE still_running = 1;

-- Number of rows with a stream's kept output.
ALTER TABLE jobs ADD COLUMN stdout_rows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN stderr_rows BIGINT NOT NULL DEFAULT 0;

-- Why a node can't run jobs.
ALTER TABLE nodes ADD COLUMN problem TEXT;

-- The key file that the database was created with.
CREATE TABLE server_key (
    id     BIGINT PRIMARY KEY,
    digest BYTEA NOT NULL
);

-- The state of the clock that HYPRBOX_KEEP_DAYS counts by.
CREATE TABLE retention_clock (
    id           BIGINT PRIMARY KEY,
    seen_at      TIMESTAMPTZ NOT NULL,
    steady_since TIMESTAMPTZ
);
