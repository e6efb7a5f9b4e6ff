-- Envelopes and signatures of jobs.
ALTER TABLE jobs ADD COLUMN signed_by TEXT;
ALTER TABLE jobs ADD COLUMN envelope TEXT;
ALTER TABLE jobs ADD COLUMN signature TEXT;
ALTER TABLE jobs ADD COLUMN person_signature TEXT;

-- What a node's agent checks, and the last job that was refused.
ALTER TABLE nodes ADD COLUMN requires_signatures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN trusted_keys TEXT;
ALTER TABLE nodes ADD COLUMN refused BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN refused_at TIMESTAMPTZ;
ALTER TABLE nodes ADD COLUMN refused_job_id TEXT;
ALTER TABLE nodes ADD COLUMN refused_because TEXT;

-- The public keys with which servers have signed jobs, oldest first.
CREATE TABLE sign_keys (
    seq                 BIGINT PRIMARY KEY,
    public_key          TEXT NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL,
    statement           TEXT,
    statement_signature TEXT
);

-- The id that envelopes name.
CREATE TABLE server_identity (
    id        BIGINT PRIMARY KEY,
    server_id TEXT NOT NULL
);
