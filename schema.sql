-- The whole database of HyprBox Jobs as it is today, in SQL that SQLite and Postgres both accept.
-- Times are TIMESTAMPTZ: RFC 3339 text in SQLite ('2026-11-24T09:30:00.123Z'; what datetime('now') gives is read too).
-- Column names are the API's in snake_case. Ids are UUIDv7 text, made by the server, unless said otherwise.
-- Changes go into a numbered file in src/store/migrations as well; a test holds both ends to be alike.

-- People. The last ADMIN is never removed or demoted.
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,          -- lower case
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('PENDING', 'VIEWER', 'OPERATOR', 'ADMIN')),
    password_hash TEXT NOT NULL,                 -- argon2id, PHC string
    created_at    TIMESTAMPTZ NOT NULL
);

-- Browser and command-line sessions; they last 30 days from their last use.
CREATE TABLE sessions (
    token_sha256 BYTEA PRIMARY KEY,              -- the token itself is kept nowhere
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Tokens that people make for scripts and CI (hbu_…), with their user's role.
CREATE TABLE user_tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    prefix       TEXT NOT NULL,                  -- the first characters, to tell tokens apart in a list
    token_sha256 BYTEA NOT NULL UNIQUE,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,                    -- null: never
    last_used_at TIMESTAMPTZ
);
CREATE INDEX user_tokens_user ON user_tokens (user_id);

-- Password attempts of the last minute that did not succeed (or have not yet): ten of one account from one
-- address close the door until the minute is over.
CREATE TABLE login_attempts (
    id      TEXT PRIMARY KEY,
    account TEXT NOT NULL,                       -- the email as typed, lower case; it need not exist
    address TEXT NOT NULL,                       -- the client's IP address
    at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX login_attempts_account ON login_attempts (account, address, at);

-- Machines. A node's jobs stay readable when it goes, so jobs.node_id refers to nothing.
CREATE TABLE nodes (
    id             TEXT PRIMARY KEY,             -- the slug that people type: prod-eu-1
    name           TEXT NOT NULL,
    labels         TEXT NOT NULL,                -- JSON object of strings
    created_at     TIMESTAMPTZ NOT NULL,
    last_seen_at   TIMESTAMPTZ,                  -- written every few seconds, not at each sign of life
    stopping       BIGINT NOT NULL DEFAULT 0,    -- 1: the agent said goodbye after last_seen_at
    interval_ms    BIGINT NOT NULL DEFAULT 30000, -- the agent's heartbeat interval
    hostname       TEXT,
    os_id          TEXT,                         -- these four as in /etc/os-release
    os_id_like     TEXT,                         -- what it is like, in its own order: 'ubuntu debian'
    os_version_id  TEXT,
    os_pretty_name TEXT,
    agent_version  TEXT,
    problem        TEXT,                         -- why the node can't run jobs, as its agent reports it; null: it can
    copied_at      TIMESTAMPTZ                   -- when a second machine last used a copy of its agent's state folder
);

-- Tokens of agents (hbn_…), each bound to one node.
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

-- One-time codes with which a machine becomes a node's agent (hbe_…): one a node, gone with its use.
CREATE TABLE node_enrolments (
    node_id     TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    code_sha256 BYTEA NOT NULL UNIQUE,
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);

-- Agent instances that have used a node's tokens: two alive at once are shown on the node.
CREATE TABLE node_instances (
    node_id       TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    instance      TEXT NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (node_id, instance)
);

-- Jobs. Each change of status is one conditional UPDATE on the status that it leaves.
CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,        -- UUIDv7, so ids sort by age
    status              TEXT NOT NULL CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    preset              TEXT NOT NULL,
    node_id             TEXT NOT NULL,
    created_by          TEXT NOT NULL,           -- users.id; stays when the user goes
    created_by_email    TEXT NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL,
    started_at          TIMESTAMPTZ,             -- the claim
    finished_at         TIMESTAMPTZ,             -- any terminal state
    exit_code           BIGINT,
    signal              TEXT,
    error_msg           TEXT,
    timeout_seconds     BIGINT NOT NULL,
    cancel_requested_at TIMESTAMPTZ,
    recovered_at        TIMESTAMPTZ,             -- completed late, after the lease had failed it
    lost_at             TIMESTAMPTZ,             -- the lease failed it; a row failed by hand has none
    claimed_by          TEXT,                    -- agent instance of the claim; null for a claim without one
    claimed_process     TEXT,                    -- process of that instance; null: the agent did not send one
    still_running       BIGINT NOT NULL DEFAULT 0, -- 1: the job has ended here, but its agent reports that the script runs on
    queue_no            BIGINT NOT NULL DEFAULT 0, -- place in the node's queue: the lowest is claimed first
    complete_digest     BYTEA,                   -- SHA-256 of the completion taken, so that its repeat is known
    script_sha256       TEXT NOT NULL,           -- 64 hex digits
    pid                 BIGINT,                  -- bash on the node; the agent tells it with the first output
    lines               BIGINT,                  -- lines of both streams that have begun; null: not counted from the start
    position            BIGINT NOT NULL DEFAULT 0, -- bytes of both streams that arrived, in the order the agent read them
    stdout_bytes        BIGINT NOT NULL DEFAULT 0, -- all that was produced
    stdout_dropped      BIGINT NOT NULL DEFAULT 0, -- of these, not kept: fell off the head, or never arrived
    stdout_start        BIGINT NOT NULL DEFAULT 0, -- offset of the first kept byte
    stdout_open         BIGINT NOT NULL DEFAULT 0, -- 1: its last line has no end yet
    stdout_rows         BIGINT NOT NULL DEFAULT 0, -- rows of chunks that hold what is kept
    stderr_bytes        BIGINT NOT NULL DEFAULT 0,
    stderr_dropped      BIGINT NOT NULL DEFAULT 0,
    stderr_start        BIGINT NOT NULL DEFAULT 0,
    stderr_open         BIGINT NOT NULL DEFAULT 0,
    stderr_rows         BIGINT NOT NULL DEFAULT 0,
    last_output_at      TIMESTAMPTZ,
    params              TEXT NOT NULL,           -- JSON object: those used, defaults filled in
    script              TEXT NOT NULL            -- frozen when queued: what runs, byte for byte
);
CREATE INDEX jobs_owner ON jobs (created_by, id);
CREATE INDEX jobs_node ON jobs (node_id, id);
CREATE INDEX jobs_queued ON jobs (node_id, queue_no, created_at, id) WHERE status = 'QUEUED';
CREATE INDEX jobs_running ON jobs (node_id, claimed_by, cancel_requested_at, id) WHERE status = 'RUNNING';
CREATE INDEX jobs_still_running ON jobs (node_id, claimed_by) WHERE still_running = 1;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_preset ON jobs (preset, id);
CREATE INDEX jobs_ended ON jobs (status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE INDEX jobs_ended_owner ON jobs (created_by, status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

-- Values of secret params, sealed with the key file, until their job ends (a trigger erases them then).
CREATE TABLE job_secrets (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    sealed BYTEA NOT NULL                        -- nonce, then ChaCha20-Poly1305 of a JSON object; bound to the job's id
);

-- Output as it came: a row per chunk. Rows that fall out of the tail go in the transaction that pushes them out; the
-- row at the edge stays whole, and the reader starts at jobs.stdout_start / stderr_start.
CREATE TABLE chunks (
    job_id       TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    stream       TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    start_offset BIGINT NOT NULL,                -- bytes of the stream before this chunk, since the job began
    position     BIGINT NOT NULL,                -- bytes of both streams that had arrived before it
    arrived_at   TIMESTAMPTZ NOT NULL,
    line         BIGINT,                         -- lines of both streams that had begun once its first byte was there
    data         BYTEA NOT NULL
);
CREATE UNIQUE INDEX chunks_place ON chunks (job_id, stream, start_offset);
CREATE INDEX chunks_order ON chunks (job_id, position);

-- Idempotency-Key of POST /api/jobs, kept for 24 hours.
CREATE TABLE idempotency_keys (
    user_id    TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     BYTEA NOT NULL,                   -- HMAC-SHA256 of the canonical JSON body, keyed with the key file
    job_id     TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Who did what.
CREATE TABLE audit_entries (
    id      TEXT PRIMARY KEY,                    -- UUIDv7
    at      TIMESTAMPTZ NOT NULL,
    actor   TEXT NOT NULL,                       -- an email, node:<id>, or server
    action  TEXT NOT NULL,                       -- job.queue, job.cancel, user.add, …
    job_id  TEXT,
    node_id TEXT,
    detail  TEXT                                 -- in words
);

-- One row that /readyz writes, to know that the database takes a write.
CREATE TABLE readiness (
    id BIGINT PRIMARY KEY,                       -- always 1
    at TIMESTAMPTZ NOT NULL
);

-- One row: which key file the database was made with (HMAC of a constant, keyed with that file).
CREATE TABLE server_key (
    id     BIGINT PRIMARY KEY,                   -- always 1
    digest BYTEA NOT NULL
);

-- One row: what HYPRBOX_KEEP_DAYS knows of the clock, so that a leap of it deletes nothing at once.
CREATE TABLE retention_clock (
    id           BIGINT PRIMARY KEY,             -- always 1
    seen_at      TIMESTAMPTZ NOT NULL,           -- the clock when the server last read it, at most an hour ago
    steady_since TIMESTAMPTZ                     -- the last leap ahead; null: none
);

-- Beside these tables, made anew at each start, as each database writes them in its own way (src/store/sql/derived.*.sql):
--   VIEW job_logs (job_id, stdout, stderr)        the kept output as text, for operators who type SQL
--   TRIGGER jobs_erase_secrets                    overwrites and deletes a job's sealed secrets when its status becomes terminal
