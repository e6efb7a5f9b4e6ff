-- The steps that a job's output has announced, with the node's own times. Jobs that began before have none: their steps
-- are read from the output, as before.
ALTER TABLE jobs ADD COLUMN script_began_at TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN ran_ms BIGINT;
CREATE TABLE job_steps (
    job_id     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    name       TEXT NOT NULL,
    is_done    BIGINT NOT NULL,
    line_end   BIGINT NOT NULL,
    arrived_at TIMESTAMPTZ NOT NULL,
    began_ms   BIGINT,
    PRIMARY KEY (job_id, number)
);
