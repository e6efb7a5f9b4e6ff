-- Notifications: where they go, which events go there, and each message with its attempts.
CREATE TABLE channels (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    kind           TEXT NOT NULL,
    settings       TEXT NOT NULL,
    sealed         BYTEA,
    paused         BIGINT NOT NULL DEFAULT 0,
    paused_because TEXT,
    created_at     TIMESTAMPTZ NOT NULL
);

CREATE TABLE rules (
    id            TEXT PRIMARY KEY,
    channel_id    TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    events        TEXT NOT NULL,
    presets       TEXT,
    selector      TEXT,
    schedules     TEXT,
    after_seconds BIGINT,
    created_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX rules_channel ON rules (channel_id);

CREATE TABLE deliveries (
    id              TEXT PRIMARY KEY,
    channel_id      TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    event           TEXT NOT NULL,
    message         TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    created_at      TIMESTAMPTZ NOT NULL,
    next_attempt_at TIMESTAMPTZ,
    claimed         BIGINT NOT NULL DEFAULT 0,
    give_up_at      TIMESTAMPTZ NOT NULL,
    tries           BIGINT NOT NULL DEFAULT 0,
    attempts        TEXT NOT NULL
);
CREATE INDEX deliveries_list ON deliveries (channel_id, id);
CREATE INDEX deliveries_due ON deliveries (channel_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (channel_id) WHERE state = 'failed';
CREATE INDEX deliveries_settled ON deliveries (created_at) WHERE state <> 'pending';

CREATE TABLE node_alarms (
    channel_id TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    node_id    TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at         TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, node_id)
);
CREATE INDEX node_alarms_node ON node_alarms (node_id);

CREATE INDEX jobs_outcome ON jobs (node_id, preset, id) WHERE kind = 'apply' AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
