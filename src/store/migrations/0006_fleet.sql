-- Runs: one preset on many nodes, in batches.
CREATE TABLE runs (
    id                 TEXT PRIMARY KEY,
    status             TEXT NOT NULL CHECK (status IN ('RUNNING', 'PAUSED', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    preset             TEXT NOT NULL,
    params             TEXT NOT NULL,
    kind               TEXT NOT NULL CHECK (kind IN ('apply', 'check')),
    selector           TEXT,
    plan               TEXT NOT NULL,
    if_offline         TEXT NOT NULL CHECK (if_offline IN ('wait', 'skip')),
    timeout_seconds    BIGINT NOT NULL,
    not_before         TIMESTAMPTZ,
    expires_in_seconds BIGINT,
    node_count         BIGINT NOT NULL,
    batches            BIGINT NOT NULL,
    released_batch     BIGINT NOT NULL DEFAULT 0,
    release_at         TIMESTAMPTZ,
    created_by         TEXT NOT NULL,
    created_by_email   TEXT NOT NULL,
    created_at         TIMESTAMPTZ NOT NULL,
    finished_at        TIMESTAMPTZ,
    cancelled_at       TIMESTAMPTZ,
    retry_of           TEXT,
    schedule_id        TEXT,
    stopped_because    TEXT
);
CREATE INDEX runs_owner ON runs (created_by, id);
CREATE INDEX runs_status ON runs (status, id);
CREATE INDEX runs_preset ON runs (preset, id);
CREATE INDEX runs_release ON runs (release_at) WHERE release_at IS NOT NULL;

-- The script of a run's jobs is stored once. Their jobs.script is ''.
CREATE TABLE scripts (
    sha256  TEXT PRIMARY KEY,
    script  TEXT NOT NULL,
    used_at TIMESTAMPTZ NOT NULL
);

-- Jobs of runs, and jobs that must not be claimed yet or no longer. The index of the claim begins
-- with held, so that neither a claim nor a periodic query reads held jobs.
ALTER TABLE jobs ADD COLUMN run_id TEXT;
ALTER TABLE jobs ADD COLUMN batch BIGINT;
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'apply' CHECK (kind IN ('apply', 'check'));
ALTER TABLE jobs ADD COLUMN not_before TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN expires_at TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN holds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN run_paused_at TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN step TEXT;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (held, node_id, queue_no, created_at, id, expires_at) WHERE status = 'QUEUED';
CREATE INDEX jobs_not_before ON jobs (not_before) WHERE status = 'QUEUED' AND (holds & 1) = 1 AND run_id IS NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE status = 'QUEUED' AND expires_at IS NOT NULL;
CREATE INDEX jobs_run ON jobs (run_id, status, batch, id) WHERE run_id IS NOT NULL;
CREATE INDEX jobs_check ON jobs (id) WHERE kind = 'check';
CREATE INDEX jobs_shared_script ON jobs (script_sha256) WHERE script = '';

-- A node's pause, and what its agent reports about the machine.
ALTER TABLE nodes ADD COLUMN paused BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN facts TEXT;
ALTER TABLE nodes ADD COLUMN facts_at TIMESTAMPTZ;

-- POST /api/runs also takes an Idempotency-Key.
ALTER TABLE idempotency_keys ADD COLUMN run_id TEXT;

-- The first process of an agent instance, so that servers that share the database recognise a
-- second one.
ALTER TABLE node_instances ADD COLUMN process TEXT;
ALTER TABLE node_instances ADD COLUMN process_seen_at TIMESTAMPTZ;
