-- Signatures by people over all jobs of a schedule that run the same script.
CREATE TABLE standing_envelopes (
    id          TEXT PRIMARY KEY,
    schedule_id TEXT NOT NULL,
    envelope    TEXT NOT NULL,
    signature   TEXT NOT NULL,
    signed_by   TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX standing_envelopes_schedule ON standing_envelopes (schedule_id, id);

ALTER TABLE jobs ADD COLUMN standing_id TEXT;
CREATE INDEX jobs_standing ON jobs (standing_id) WHERE standing_id IS NOT NULL;
