-- Schema version 1, as databases have it that were made with it: where the tests of the upgrade
-- begin. Never changes.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('PENDING', 'VIEWER', 'OPERATOR', 'ADMIN')),
    password_hash TEXT NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL
);

CREATE TABLE sessions (
    token_sha256 BYTEA PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE user_tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    prefix       TEXT NOT NULL,
    token_sha256 BYTEA NOT NULL UNIQUE,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ
);
CREATE INDEX user_tokens_user ON user_tokens (user_id);

CREATE TABLE login_attempts (
    id      TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    address TEXT NOT NULL,
    at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX login_attempts_account ON login_attempts (account, address, at);

CREATE TABLE nodes (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    labels         TEXT NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    last_seen_at   TIMESTAMPTZ,
    stopping       BIGINT NOT NULL DEFAULT 0,
    interval_ms    BIGINT NOT NULL DEFAULT 30000,
    hostname       TEXT,
    os_id          TEXT,
    os_version_id  TEXT,
    os_pretty_name TEXT,
    agent_version  TEXT
);

CREATE TABLE node_tokens (
    id           TEXT PRIMARY KEY,
    node_id      TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    prefix       TEXT NOT NULL,
    token_sha256 BYTEA NOT NULL UNIQUE,
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ,
    revoked_at   TIMESTAMPTZ
);
CREATE INDEX node_tokens_node ON node_tokens (node_id);

CREATE TABLE node_instances (
    node_id       TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    instance      TEXT NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (node_id, instance)
);

CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,
    status              TEXT NOT NULL CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    preset              TEXT NOT NULL,
    node_id             TEXT NOT NULL,
    created_by          TEXT NOT NULL,
    created_by_email    TEXT NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL,
    started_at          TIMESTAMPTZ,
    finished_at         TIMESTAMPTZ,
    exit_code           BIGINT,
    signal              TEXT,
    error_msg           TEXT,
    timeout_seconds     BIGINT NOT NULL,
    cancel_requested_at TIMESTAMPTZ,
    recovered_at        TIMESTAMPTZ,
    lost_at             TIMESTAMPTZ,
    claimed_by          TEXT,
    complete_digest     BYTEA,
    script_sha256       TEXT NOT NULL,
    position            BIGINT NOT NULL DEFAULT 0,
    stdout_bytes        BIGINT NOT NULL DEFAULT 0,
    stdout_dropped      BIGINT NOT NULL DEFAULT 0,
    stdout_start        BIGINT NOT NULL DEFAULT 0,
    stderr_bytes        BIGINT NOT NULL DEFAULT 0,
    stderr_dropped      BIGINT NOT NULL DEFAULT 0,
    stderr_start        BIGINT NOT NULL DEFAULT 0,
    last_output_at      TIMESTAMPTZ,
    params              TEXT NOT NULL,
    script              TEXT NOT NULL
);
CREATE INDEX jobs_owner ON jobs (created_by, id);
CREATE INDEX jobs_node ON jobs (node_id, id);
CREATE INDEX jobs_queued ON jobs (node_id, created_at, id) WHERE status = 'QUEUED';
CREATE INDEX jobs_running ON jobs (node_id, id) WHERE status = 'RUNNING';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE job_secrets (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    sealed BYTEA NOT NULL
);

CREATE TABLE chunks (
    job_id       TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    stream       TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    start_offset BIGINT NOT NULL,
    position     BIGINT NOT NULL,
    arrived_at   TIMESTAMPTZ NOT NULL,
    data         BYTEA NOT NULL
);
CREATE UNIQUE INDEX chunks_place ON chunks (job_id, stream, start_offset);
CREATE INDEX chunks_order ON chunks (job_id, position);

CREATE TABLE idempotency_keys (
    user_id    TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     BYTEA NOT NULL,
    job_id     TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit_entries (
    id      TEXT PRIMARY KEY,
    at      TIMESTAMPTZ NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    job_id  TEXT,
    node_id TEXT,
    detail  TEXT
);

CREATE TABLE readiness (
    id BIGINT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL
);
