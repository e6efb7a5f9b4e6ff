-- The schema of HyprBox Jobs, in SQL that both SQLite and PostgreSQL accept.
-- Times are TIMESTAMPTZ. In SQLite they are RFC 3339 text such as '2026-11-24T09:30:00.123Z'; the format of
-- datetime('now') is also read. Columns have the names of the API in snake_case. Unless stated otherwise,
-- ids are UUIDv7 text created by the server.
-- Each change also needs a numbered file in src/store/migrations. A test checks that both lead to the same schema.

-- Users. The last ADMIN can't be removed or demoted.
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,          -- lower case
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('PENDING', 'VIEWER', 'OPERATOR', 'ADMIN')),
    password_hash TEXT NOT NULL,                 -- argon2id, PHC string
    created_at    TIMESTAMPTZ NOT NULL
);

-- Sessions of browsers and the command line. A session expires 30 days after its last use.
CREATE TABLE sessions (
    token_sha256 BYTEA PRIMARY KEY,              -- the token itself is not stored
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Personal tokens for scripts and CI (hbu_…). A token has its user's role.
CREATE TABLE user_tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    prefix       TEXT NOT NULL,                  -- the first characters, to distinguish tokens in a list
    token_sha256 BYTEA NOT NULL UNIQUE,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,                    -- null: never
    last_used_at TIMESTAMPTZ
);
CREATE INDEX user_tokens_user ON user_tokens (user_id);

-- Password attempts of the last minute that failed or are still being checked. After ten attempts on one
-- account from one address, further ones are refused until the minute is over.
CREATE TABLE login_attempts (
    id      TEXT PRIMARY KEY,
    account TEXT NOT NULL,                       -- the email as typed, in lower case; may not exist
    address TEXT NOT NULL,                       -- the client's IP address
    at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX login_attempts_account ON login_attempts (account, address, at);

-- Machines. Jobs stay readable after their node was deleted, so jobs.node_id is not a foreign key.
CREATE TABLE nodes (
    id             TEXT PRIMARY KEY,             -- a slug such as prod-eu-1
    name           TEXT NOT NULL,
    labels         TEXT NOT NULL,                -- JSON object of strings
    created_at     TIMESTAMPTZ NOT NULL,
    last_seen_at   TIMESTAMPTZ,                  -- updated every few seconds, not at each sign of life
    stopping       BIGINT NOT NULL DEFAULT 0,    -- 1: the agent announced its stop at last_seen_at
    interval_ms    BIGINT NOT NULL DEFAULT 30000, -- the agent's heartbeat interval
    hostname       TEXT,
    os_id          TEXT,                         -- these four are from /etc/os-release
    os_id_like     TEXT,                         -- such as 'ubuntu debian'
    os_version_id  TEXT,
    os_pretty_name TEXT,
    agent_version  TEXT,
    problem        TEXT,                         -- why the node can't run jobs, as the agent reports; null: it can
    copied_at      TIMESTAMPTZ,                  -- when a second machine last used a copy of the agent's state directory
    paused         BIGINT NOT NULL DEFAULT 0,    -- 1: the node's agent gets no job
    facts          TEXT,                         -- JSON object that the agent sent; null: none yet
    facts_at       TIMESTAMPTZ,                  -- when the facts arrived
    requires_signatures BIGINT NOT NULL DEFAULT 0, -- 1: the agent runs only jobs that a person has signed
    trusted_keys   TEXT,                         -- JSON list of the sign keys that the agent trusts, by fingerprint; null: it does not say
    refused        BIGINT NOT NULL DEFAULT 0,    -- number of jobs that were refused
    refused_at     TIMESTAMPTZ,                  -- the last refusal; with the job and the reason in words
    refused_job_id TEXT,
    refused_because TEXT,
    ledger_seq     BIGINT,                       -- the newest entry of the ledger that the node's agent knows, and its hash
    ledger_hash    TEXT
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

-- One-time codes that enrol a machine as a node's agent (hbe_…). One per node, deleted when used.
CREATE TABLE node_enrolments (
    node_id     TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    code_sha256 BYTEA NOT NULL UNIQUE,
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);

-- Agent instances that have used a node's tokens. Two active instances are shown on the node's page.
CREATE TABLE node_instances (
    node_id       TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    instance      TEXT NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at  TIMESTAMPTZ NOT NULL,
    -- Its first process, and when that last polled; only if several servers share the database.
    process         TEXT,
    process_seen_at TIMESTAMPTZ,
    PRIMARY KEY (node_id, instance)
);

-- When nodes became ONLINE or OFFLINE: each change of the last 30 days, and the last one before.
CREATE TABLE node_status_changes (
    node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at      TIMESTAMPTZ NOT NULL,                -- the first sign of life, or the last one
    online  BIGINT NOT NULL,                     -- 1: ONLINE from then on; 0: OFFLINE
    PRIMARY KEY (node_id, at)
);

-- Jobs. Each change of status is one UPDATE with the old status as a condition.
CREATE TABLE jobs (
    id                  TEXT PRIMARY KEY,        -- UUIDv7, so ids sort by age
    status              TEXT NOT NULL CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    preset              TEXT NOT NULL,
    node_id             TEXT NOT NULL,
    created_by          TEXT NOT NULL,           -- users.id; stays when the user is removed
    created_by_email    TEXT NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL,
    started_at          TIMESTAMPTZ,             -- when the job was claimed
    finished_at         TIMESTAMPTZ,             -- when the job reached a final status
    exit_code           BIGINT,
    signal              TEXT,
    error_msg           TEXT,
    timeout_seconds     BIGINT NOT NULL,
    cancel_requested_at TIMESTAMPTZ,
    recovered_at        TIMESTAMPTZ,             -- when the agent completed the job after its lease had run out
    lost_at             TIMESTAMPTZ,             -- when the lease ran out; null in a row changed by hand
    claimed_by          TEXT,                    -- agent instance that claimed the job; null: claimed without one
    claimed_process     TEXT,                    -- process of this instance; null: the agent did not send it
    still_running       BIGINT NOT NULL DEFAULT 0, -- 1: the job has ended here, but its agent reports that the script still runs
    run_id              TEXT,                    -- runs.id; null: a single job
    batch               BIGINT,                  -- the run's batch, from 0; null: a single job
    kind                TEXT NOT NULL DEFAULT 'apply' CHECK (kind IN ('apply', 'check')),
    not_before          TIMESTAMPTZ,             -- not claimed before this time
    expires_at          TIMESTAMPTZ,             -- not claimed at or after this time; null: waits forever, or its batch is not released
    held                BIGINT NOT NULL DEFAULT 0, -- 1: not claimed, because holds is not 0
    holds               BIGINT NOT NULL DEFAULT 0, -- the sum of the open holds: 1 not_before, 2 batch, 4 paused_run, 8 signature
    run_paused_at       TIMESTAMPTZ,             -- since when the hold paused_run is open
    step                TEXT,                    -- a run's job: the last announced step, such as '2/5 Set the SSH port'
    queue_no            BIGINT NOT NULL DEFAULT 0, -- place in the node's queue; the lowest is claimed first
    complete_digest     BYTEA,                   -- SHA-256 of the accepted completion, to recognise a repetition
    script_sha256       TEXT NOT NULL,           -- 64 hex digits
    preset_version      BIGINT,                  -- preset_versions.version; null: the preset was not saved in the app
    preset_commit       TEXT,                    -- git commit of the presets folder, with '-dirty' if the file differs; null: no checkout
    pid                 BIGINT,                  -- process id of bash on the node; the agent sends it with the first output
    lines               BIGINT,                  -- lines of both streams that have begun; null: not counted from the start
    position            BIGINT NOT NULL DEFAULT 0, -- bytes of both streams that arrived
    stdout_bytes        BIGINT NOT NULL DEFAULT 0, -- all bytes that the script has written
    stdout_dropped      BIGINT NOT NULL DEFAULT 0, -- bytes that are not kept: dropped from the head, or never arrived
    stdout_start        BIGINT NOT NULL DEFAULT 0, -- offset of the first kept byte
    stdout_open         BIGINT NOT NULL DEFAULT 0, -- 1: the last line is still without a line end
    stdout_rows         BIGINT NOT NULL DEFAULT 0, -- number of chunks rows with the kept bytes
    stderr_bytes        BIGINT NOT NULL DEFAULT 0,
    stderr_dropped      BIGINT NOT NULL DEFAULT 0,
    stderr_start        BIGINT NOT NULL DEFAULT 0,
    stderr_open         BIGINT NOT NULL DEFAULT 0,
    stderr_rows         BIGINT NOT NULL DEFAULT 0,
    last_output_at      TIMESTAMPTZ,
    script_began_at     TIMESTAMPTZ,             -- when bash began, computed from the node's time since then; null: an older agent
    ran_ms              BIGINT,                  -- how long bash ran by the node's clock, in milliseconds; null: unknown
    signed_by           TEXT,                    -- JSON object: fingerprint and comment of the person's key; null: no person signed
    envelope            TEXT,                    -- what was signed, byte for byte; null: no agent that checks signatures runs the job
    signature           TEXT,                    -- the server's signature over envelope, as ssh-keygen -Y writes it
    person_signature    TEXT,                    -- a person's signature over envelope
    standing_id         TEXT,                    -- standing_envelopes.id: what a person signed in advance for the schedule's jobs
    stdout_sha256       TEXT,                    -- SHA-256 of the whole stream as the agent computed it, 64 hex digits; null: not ended, or an older agent
    stderr_sha256       TEXT,
    output_verified     BIGINT,                  -- 1: every byte is kept and both SHA-256 fit; 0: every byte is kept and one does not fit; null: unknown
    stdout_hash         BYTEA,                   -- state of the server's own SHA-256 of the stream; null: no byte has arrived, one is missing, or the job has ended
    stderr_hash         BYTEA,
    confirm_by          TIMESTAMPTZ,             -- until when the job waits for a confirmation, by the node's clock; null: it has not begun to wait
    confirm_seconds     BIGINT NOT NULL DEFAULT 0, -- how long that wait is, in seconds; it does not count against the timeout
    confirm_requested_at TIMESTAMPTZ,            -- when a user confirmed the waiting job
    new_drift           BIGINT NOT NULL DEFAULT 0, -- 1: a check that found steps that would run, and the one before had found none
    ledger_no           BIGINT NOT NULL DEFAULT 0, -- increased by each change by a server that the ledger records; an INSERT or UPDATE by hand leaves it
    params              TEXT NOT NULL,           -- JSON object of the parameters used, including defaults
    script              TEXT NOT NULL            -- what runs, byte for byte; never changes after the job was queued; '': the text in scripts
);
CREATE INDEX jobs_owner ON jobs (created_by, id);
CREATE INDEX jobs_node ON jobs (node_id, id);
CREATE INDEX jobs_queued ON jobs (held, node_id, queue_no, created_at, id, expires_at) WHERE status = 'QUEUED';
CREATE INDEX jobs_not_before ON jobs (not_before) WHERE status = 'QUEUED' AND (holds & 1) = 1 AND run_id IS NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE status = 'QUEUED' AND expires_at IS NOT NULL;
CREATE INDEX jobs_run ON jobs (run_id, status, batch, id) WHERE run_id IS NOT NULL;
CREATE INDEX jobs_check ON jobs (id) WHERE kind = 'check';
CREATE INDEX jobs_shared_script ON jobs (script_sha256) WHERE script = '';
CREATE INDEX jobs_standing ON jobs (standing_id) WHERE standing_id IS NOT NULL;
CREATE INDEX jobs_running ON jobs (node_id, claimed_by, cancel_requested_at, id) WHERE status = 'RUNNING';
CREATE INDEX jobs_still_running ON jobs (node_id, claimed_by) WHERE still_running = 1;
CREATE INDEX jobs_finished ON jobs (finished_at, status, kind, created_by) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_preset ON jobs (preset, id);
CREATE INDEX jobs_ended ON jobs (status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE INDEX jobs_outcome ON jobs (node_id, preset, id) WHERE kind = 'apply' AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE INDEX jobs_checked ON jobs (node_id, preset, id) WHERE kind = 'check' AND status = 'SUCCEEDED';
CREATE INDEX jobs_ended_owner ON jobs (created_by, status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

-- What each node should be like: for each preset that was ever applied with success, its last success and the last
-- check of the same params since then. Rows outlive their jobs.
CREATE TABLE drift (
    node_id        TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    preset         TEXT NOT NULL,
    params         TEXT NOT NULL,                -- of the last apply that succeeded, as in jobs.params
    applied_job_id TEXT NOT NULL,
    applied_at     TIMESTAMPTZ NOT NULL,
    check_params   TEXT,                         -- the params that today's preset makes of params; null: they are the same
    check_job_id   TEXT,                         -- the last check with these params that succeeded; null: none since then
    checked_at     TIMESTAMPTZ,
    steps          TEXT NOT NULL DEFAULT '[]',   -- JSON list of what it found: index, name, state
    PRIMARY KEY (node_id, preset)
);

-- Scripts of the jobs of runs, each stored once for all its jobs. Deleted when no job names them.
CREATE TABLE scripts (
    sha256  TEXT PRIMARY KEY,                    -- 64 hex digits, as in jobs.script_sha256
    script  TEXT NOT NULL,
    used_at TIMESTAMPTZ NOT NULL                 -- when a run was last queued with this script
);

-- Runs: one preset queued for several nodes at once. Each node has one job.
CREATE TABLE runs (
    id                 TEXT PRIMARY KEY,         -- UUIDv7
    status             TEXT NOT NULL CHECK (status IN ('RUNNING', 'PAUSED', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    preset             TEXT NOT NULL,
    params             TEXT NOT NULL,            -- JSON object of the parameters used, including defaults
    kind               TEXT NOT NULL CHECK (kind IN ('apply', 'check')),
    selector           TEXT,                     -- null: the nodes were named
    plan               TEXT NOT NULL,            -- JSON object: canary, batch, pauseSeconds, maxFailures
    if_offline         TEXT NOT NULL CHECK (if_offline IN ('wait', 'skip')),
    timeout_seconds    BIGINT NOT NULL,
    not_before         TIMESTAMPTZ,              -- holds the first batch
    expires_in_seconds BIGINT,                   -- from the release of a job's batch; null: jobs wait forever
    node_count         BIGINT NOT NULL,
    batches            BIGINT NOT NULL,          -- number of batches
    released_batch     BIGINT NOT NULL DEFAULT 0, -- the last batch that was released; -1: none
    release_at         TIMESTAMPTZ,              -- when the next batch may be released; null: as soon as the one before has ended
    created_by         TEXT NOT NULL,            -- users.id; stays when the user is removed
    created_by_email   TEXT NOT NULL,
    created_at         TIMESTAMPTZ NOT NULL,
    finished_at        TIMESTAMPTZ,
    cancelled_at       TIMESTAMPTZ,              -- when a person cancelled the run
    retry_of           TEXT,                     -- the run whose remaining nodes this run repeats
    schedule_id        TEXT,                     -- the schedule that queued the run
    stopped_because    TEXT,                     -- why the run ended early, such as '1 failure, 0 allowed'
    after_run          TEXT                      -- the run that must end before this one begins; null: none
);
CREATE INDEX runs_owner ON runs (created_by, id);
CREATE INDEX runs_status ON runs (status, id);
CREATE INDEX runs_preset ON runs (preset, id);
CREATE INDEX runs_release ON runs (release_at) WHERE release_at IS NOT NULL;
CREATE INDEX runs_schedule ON runs (schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX runs_after ON runs (after_run) WHERE after_run IS NOT NULL;

-- Schedules: each queues a run at the times of its cron expression.
CREATE TABLE schedules (
    id               TEXT PRIMARY KEY,           -- UUIDv7
    request          TEXT NOT NULL,              -- JSON object: what a person asked for, as in POST /api/schedules
    preset           TEXT NOT NULL,
    cron             TEXT NOT NULL,              -- five fields, or a name such as @daily
    time_zone        TEXT NOT NULL,              -- IANA name
    paused           BIGINT NOT NULL DEFAULT 0,  -- 1: due times are skipped
    paused_because   TEXT,                       -- why the server paused it; null: a person did, or it is not paused
    next_due_at      TIMESTAMPTZ,                -- the first due time without a slot; null: none is left
    created_by       TEXT NOT NULL,              -- users.id: it acts with this user's rights
    created_by_email TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_due_at);

-- The due times of schedules, and what became of each.
CREATE TABLE schedule_slots (
    schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_at      TIMESTAMPTZ NOT NULL,
    outcome     TEXT NOT NULL,                   -- ran, skipped or missed
    run_id      TEXT,                            -- the run that was queued
    detail      TEXT,                            -- why it was skipped or missed
    PRIMARY KEY (schedule_id, due_at)
);
CREATE INDEX schedule_slots_age ON schedule_slots (due_at);

-- Signatures by people over all jobs of a schedule that run the same script. The newest of a schedule
-- counts for its next runs. Older ones stay as long as a job names them.
CREATE TABLE standing_envelopes (
    id          TEXT PRIMARY KEY,                -- UUIDv7
    schedule_id TEXT NOT NULL,
    envelope    TEXT NOT NULL,                   -- what was signed, byte for byte
    signature   TEXT NOT NULL,                   -- as ssh-keygen -Y writes it
    signed_by   TEXT NOT NULL,                   -- JSON object: fingerprint and comment of the person's key
    created_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX standing_envelopes_schedule ON standing_envelopes (schedule_id, id);

-- Secrets for jobs that nobody is there to type a password for. Sealed with the key file.
CREATE TABLE stored_secrets (
    name             TEXT PRIMARY KEY,
    sealed           BYTEA NOT NULL,
    presets          TEXT NOT NULL,              -- JSON list of the presets that may use it: name and origin
    changed_by_email TEXT NOT NULL,
    changed_at       TIMESTAMPTZ NOT NULL
);

-- Where notifications go.
CREATE TABLE channels (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    kind           TEXT NOT NULL,                -- webhook, ntfy, gotify, slack, discord or email
    settings       TEXT NOT NULL,                -- JSON object of the settings that are not secret
    sealed         BYTEA,                        -- the secret ones, sealed with the key file; null: none
    paused         BIGINT NOT NULL DEFAULT 0,    -- 1: messages wait
    paused_because TEXT,                         -- why the server paused it; null: a person did, or it is not paused
    created_at     TIMESTAMPTZ NOT NULL
);

-- Which events go to a channel. A filter that is null lets everything pass.
CREATE TABLE rules (
    id            TEXT PRIMARY KEY,
    channel_id    TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    events        TEXT NOT NULL,                 -- JSON list: job_failed, run_finished, …
    presets       TEXT,                          -- JSON list of names
    selector      TEXT,                          -- the node's, or that of any node of a run
    schedules     TEXT,                          -- JSON list of schedules.id
    after_seconds BIGINT,                        -- node_offline: this long after the last sign of life; null: 300
    created_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX rules_channel ON rules (channel_id);

-- Messages for channels, each written in the transaction of its event, and their attempts.
CREATE TABLE deliveries (
    id              TEXT PRIMARY KEY,            -- UUIDv7; the same at each attempt
    channel_id      TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    event           TEXT NOT NULL,
    message         TEXT NOT NULL,               -- JSON object: the body that webhooks get
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    created_at      TIMESTAMPTZ NOT NULL,
    next_attempt_at TIMESTAMPTZ,                 -- during an attempt: when it counts as lost; null: not pending
    claimed         BIGINT NOT NULL DEFAULT 0,   -- 1: a server makes an attempt
    give_up_at      TIMESTAMPTZ NOT NULL,        -- the last attempt is made then
    tries           BIGINT NOT NULL DEFAULT 0,   -- failed attempts since it was queued or sent again
    attempts        TEXT NOT NULL                -- JSON list of the last 50: at, status, error, answer
);
CREATE INDEX deliveries_list ON deliveries (channel_id, id);
CREATE INDEX deliveries_due ON deliveries (channel_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (channel_id) WHERE state = 'failed';
CREATE INDEX deliveries_settled ON deliveries (created_at) WHERE state <> 'pending';

-- The nodes of which a channel was sent node_offline, and no node_online yet.
CREATE TABLE node_alarms (
    channel_id TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    node_id    TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at         TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, node_id)
);
CREATE INDEX node_alarms_node ON node_alarms (node_id);

-- Presets saved in the app. A deleted one keeps its row and its versions.
CREATE TABLE presets (
    name       TEXT PRIMARY KEY,
    version    BIGINT NOT NULL,                  -- the last version
    deleted_at TIMESTAMPTZ,                      -- null: in use
    change_no  BIGINT NOT NULL                   -- number of the last save or deletion, counted over all presets
);
CREATE UNIQUE INDEX presets_change ON presets (change_no);

-- What was saved. Rows never change and are never deleted.
CREATE TABLE preset_versions (
    name             TEXT NOT NULL REFERENCES presets (name),
    version          BIGINT NOT NULL,            -- from 1; continues after a deletion
    sha256           TEXT NOT NULL,              -- of the source, 64 hex digits
    source           TEXT NOT NULL,              -- YAML
    created_by       TEXT NOT NULL,              -- users.id; stays when the user is removed
    created_by_email TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, version)
);

-- Values of secret parameters, sealed with the key file. A trigger deletes them when their job ends.
CREATE TABLE job_secrets (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    sealed BYTEA NOT NULL                        -- nonce and ChaCha20-Poly1305 of a JSON object, bound to the job's id
);

-- Output, one row per chunk as it arrived. A transaction that adds output deletes the rows that drop out of the
-- kept tail. The first row stays whole; readers start at jobs.stdout_start or stderr_start.
CREATE TABLE chunks (
    job_id       TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    stream       TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    start_offset BIGINT NOT NULL,                -- offset of the first byte in its stream
    position     BIGINT NOT NULL,                -- bytes of both streams that arrived before this chunk
    arrived_at   TIMESTAMPTZ NOT NULL,
    line         BIGINT,                         -- line of the first byte, counted over both streams from 1
    data         BYTEA NOT NULL
);
CREATE UNIQUE INDEX chunks_place ON chunks (job_id, stream, start_offset);
CREATE INDEX chunks_order ON chunks (job_id, position);

-- The steps that a job's output has announced, at most 999 per job. Jobs of servers before this table have none.
CREATE TABLE job_steps (
    job_id     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,                  -- from 1
    name       TEXT NOT NULL,
    is_done    BIGINT NOT NULL,                  -- 1: announced as already done
    line_end   BIGINT NOT NULL,                  -- offset in stdout after the line that announced the step
    arrived_at TIMESTAMPTZ NOT NULL,             -- when the rest of this line arrived
    began_ms   BIGINT,                           -- when the line was written, in milliseconds since bash began, by the node's clock; null: an older agent
    PRIMARY KEY (job_id, number)
);

-- Idempotency-Key of POST /api/jobs and POST /api/runs, kept for 24 hours.
CREATE TABLE idempotency_keys (
    user_id    TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     BYTEA NOT NULL,                   -- HMAC-SHA256 of the canonical JSON body, keyed with the key file
    job_id     TEXT NOT NULL,                    -- '' if the key is a run's
    run_id     TEXT,                             -- null: the key is a job's
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- The audit log.
CREATE TABLE audit_entries (
    id      TEXT PRIMARY KEY,                    -- UUIDv7
    at      TIMESTAMPTZ NOT NULL,
    actor   TEXT NOT NULL,                       -- an email, node:<id>, or server
    action  TEXT NOT NULL,                       -- job.queue, job.cancel, user.add, …
    job_id  TEXT,
    node_id TEXT,
    detail  TEXT,                                -- further details as text
    ledger_no BIGINT NOT NULL DEFAULT 0          -- 1: written by a server; 0: inserted by hand
);

-- The ledger: a hash chain over jobs queued, jobs ended, deletions and audit entries. Its rows never change and are
-- never deleted. Servers append to it in the background.
CREATE TABLE ledger (
    seq        BIGINT PRIMARY KEY,               -- from 1, without gaps
    kind       TEXT NOT NULL,                    -- job_queued, job_ended, job_ended_by_hand, audit, job_deleted, run_deleted or slot_deleted
    id         TEXT NOT NULL,                    -- of the job, the audit entry, …
    at         TIMESTAMPTZ NOT NULL,             -- when the entry was appended
    row_sha256 TEXT NOT NULL,                    -- SHA-256 of the row's canonical content, 64 hex digits
    hash       TEXT NOT NULL                     -- SHA-256 of the previous hash and this entry's canonical content
);
CREATE INDEX ledger_row ON ledger (id, kind, seq);

-- One row: the ledger's last entry, and when the ledger was last checked.
CREATE TABLE ledger_state (
    id             BIGINT PRIMARY KEY,           -- always 1
    seq            BIGINT NOT NULL,
    hash           TEXT NOT NULL,
    checked_at     TIMESTAMPTZ,
    checked_all_at TIMESTAMPTZ
);

-- What happened and is not yet in the ledger. Triggers insert, the server that appends the entries deletes.
CREATE TABLE ledger_due (
    id     TEXT PRIMARY KEY,                     -- the time and a random part
    kind   TEXT NOT NULL,                        -- as in ledger
    row_id TEXT NOT NULL
);
CREATE INDEX ledger_due_row ON ledger_due (row_id);

-- What the checks of the ledger have found. An open fault is an alarm.
CREATE TABLE ledger_faults (
    kind            TEXT NOT NULL,               -- as in ledger; witness: a node knows another history
    id              TEXT NOT NULL,               -- of the job, the audit entry or the node
    seq             BIGINT NOT NULL,             -- the entry; 0: a row without an entry
    detail          TEXT NOT NULL,               -- the problem in words
    found_at        TIMESTAMPTZ NOT NULL,
    acknowledged_at TIMESTAMPTZ,                 -- null: an alarm
    acknowledged_by TEXT,                        -- email
    PRIMARY KEY (kind, id, seq)
);

-- One row that /readyz writes to check that the database accepts writes.
CREATE TABLE readiness (
    id BIGINT PRIMARY KEY,                       -- always 1
    at TIMESTAMPTZ NOT NULL
);

-- One row: the key file that the database was created with (HMAC of a constant, keyed with the file).
CREATE TABLE server_key (
    id     BIGINT PRIMARY KEY,                   -- always 1
    digest BYTEA NOT NULL
);

-- The keys with which servers have signed jobs, oldest first. The last one signs. The private key is in
-- HYPRBOX_SIGN_KEY_FILE and never in the database.
CREATE TABLE sign_keys (
    seq                 BIGINT PRIMARY KEY,
    public_key          TEXT NOT NULL,           -- as in an OpenSSH public key file: ssh-ed25519 AAAA…
    created_at          TIMESTAMPTZ NOT NULL,
    statement           TEXT,                    -- names this key as the successor; null: agents must be enrolled again
    statement_signature TEXT                     -- the previous key's signature over statement
);

-- One row: the id that envelopes name.
CREATE TABLE server_identity (
    id        BIGINT PRIMARY KEY,                -- always 1
    server_id TEXT NOT NULL                      -- UUIDv7
);

-- One row: the state of the clock that HYPRBOX_KEEP_DAYS counts by, so that a leap does not delete anything.
CREATE TABLE retention_clock (
    id           BIGINT PRIMARY KEY,             -- always 1
    seen_at      TIMESTAMPTZ NOT NULL,           -- the time when the server last read the clock; stored once an hour
    steady_since TIMESTAMPTZ                     -- the last leap; null: the clock is trusted
);

-- In addition, src/store/sql/derived.*.sql creates:
--   VIEW job_logs (job_id, stdout, stderr)        the kept output as text, for operators who type SQL
--   VIEW job_scripts (job_id, script)             each job's script, also of the jobs of runs
--   TRIGGER jobs_erase_secrets                    deletes a job's sealed secrets when its status becomes final
--   TRIGGER jobs_ledger_queued, jobs_ledger_ended, audit_ledger   record what the ledger must contain
