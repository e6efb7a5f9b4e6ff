-- Schedules, their due times, and the secrets that are stored for them.
CREATE TABLE schedules (
    id               TEXT PRIMARY KEY,
    request          TEXT NOT NULL,
    preset           TEXT NOT NULL,
    cron             TEXT NOT NULL,
    time_zone        TEXT NOT NULL,
    paused           BIGINT NOT NULL DEFAULT 0,
    paused_because   TEXT,
    next_due_at      TIMESTAMPTZ,
    created_by       TEXT NOT NULL,
    created_by_email TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_due_at);

CREATE TABLE schedule_slots (
    schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_at      TIMESTAMPTZ NOT NULL,
    outcome     TEXT NOT NULL,
    run_id      TEXT,
    detail      TEXT,
    PRIMARY KEY (schedule_id, due_at)
);
CREATE INDEX schedule_slots_age ON schedule_slots (due_at);

CREATE TABLE stored_secrets (
    name             TEXT PRIMARY KEY,
    sealed           BYTEA NOT NULL,
    presets          TEXT NOT NULL,
    changed_by_email TEXT NOT NULL,
    changed_at       TIMESTAMPTZ NOT NULL
);

ALTER TABLE runs ADD COLUMN after_run TEXT;
CREATE INDEX runs_schedule ON runs (schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX runs_after ON runs (after_run) WHERE after_run IS NOT NULL;
