-- job_logs: the kept output as text, for operators who type SQL. The chunk at the tail's edge is cut here. The order is a
-- subquery's: ORDER BY inside group_concat needs SQLite 3.44, and a view that Debian 12's sqlite3 can't read would keep
-- it from opening the database at all.
DROP VIEW IF EXISTS job_logs;
CREATE VIEW job_logs AS
SELECT
    jobs.id AS job_id,
    coalesce((
        SELECT group_concat(piece, '') FROM (
            SELECT CAST(CASE WHEN start_offset < jobs.stdout_start
                THEN substr(data, jobs.stdout_start - start_offset + 1) ELSE data END AS TEXT) AS piece
            FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stdout' ORDER BY start_offset)), '') AS stdout,
    coalesce((
        SELECT group_concat(piece, '') FROM (
            SELECT CAST(CASE WHEN start_offset < jobs.stderr_start
                THEN substr(data, jobs.stderr_start - start_offset + 1) ELSE data END AS TEXT) AS piece
            FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stderr' ORDER BY start_offset)), '') AS stderr
FROM jobs;

-- Secrets go when their job ends, whoever ends it: overwritten first, as freed pages are not.
DROP TRIGGER IF EXISTS jobs_erase_secrets;
CREATE TRIGGER jobs_erase_secrets AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
BEGIN
    UPDATE job_secrets SET sealed = zeroblob(length(sealed)) WHERE job_id = NEW.id;
    DELETE FROM job_secrets WHERE job_id = NEW.id;
END;
