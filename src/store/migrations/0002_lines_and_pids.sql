-- What distribution a node is like, the process of a job, and the numbers of its lines. Jobs that
-- began before are not counted: their lines get their numbers from the reader, as before.
ALTER TABLE nodes ADD COLUMN os_id_like TEXT;
ALTER TABLE jobs ADD COLUMN pid BIGINT;
ALTER TABLE jobs ADD COLUMN lines BIGINT;
UPDATE jobs SET lines = 0 WHERE status = 'QUEUED';
ALTER TABLE jobs ADD COLUMN stdout_open BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN stderr_open BIGINT NOT NULL DEFAULT 0;
ALTER TABLE chunks ADD COLUMN line BIGINT;
