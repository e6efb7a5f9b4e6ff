-- Hashes of whole streams, and the ledger: a hash chain over what happened.
ALTER TABLE jobs ADD COLUMN stdout_sha256 TEXT;
ALTER TABLE jobs ADD COLUMN stderr_sha256 TEXT;
ALTER TABLE jobs ADD COLUMN output_verified BIGINT;
ALTER TABLE jobs ADD COLUMN stdout_hash BYTEA;
ALTER TABLE jobs ADD COLUMN stderr_hash BYTEA;
ALTER TABLE jobs ADD COLUMN ledger_no BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN ledger_seq BIGINT;
ALTER TABLE nodes ADD COLUMN ledger_hash TEXT;
ALTER TABLE audit_entries ADD COLUMN ledger_no BIGINT NOT NULL DEFAULT 0;

CREATE TABLE ledger (
    seq        BIGINT PRIMARY KEY,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    row_sha256 TEXT NOT NULL,
    hash       TEXT NOT NULL
);
CREATE INDEX ledger_row ON ledger (id, kind, seq);

CREATE TABLE ledger_state (
    id             BIGINT PRIMARY KEY,
    seq            BIGINT NOT NULL,
    hash           TEXT NOT NULL,
    checked_at     TIMESTAMPTZ,
    checked_all_at TIMESTAMPTZ
);

CREATE TABLE ledger_due (
    id     TEXT PRIMARY KEY,
    kind   TEXT NOT NULL,
    row_id TEXT NOT NULL
);
CREATE INDEX ledger_due_row ON ledger_due (row_id);

CREATE TABLE ledger_faults (
    kind            TEXT NOT NULL,
    id              TEXT NOT NULL,
    seq             BIGINT NOT NULL,
    detail          TEXT NOT NULL,
    found_at        TIMESTAMPTZ NOT NULL,
    acknowledged_at TIMESTAMPTZ,
    acknowledged_by TEXT,
    PRIMARY KEY (kind, id, seq)
);

-- The ledger begins with what exists.
INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 1', 'job_queued', id FROM jobs;
INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 2', 'job_ended', id FROM jobs
    WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 0', 'audit', id FROM audit_entries;
