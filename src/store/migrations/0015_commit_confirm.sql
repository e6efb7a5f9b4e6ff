-- Jobs that wait for a person's confirmation and otherwise undo what they have changed.
ALTER TABLE jobs ADD COLUMN confirm_by TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN confirm_seconds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN confirm_requested_at TIMESTAMPTZ;
