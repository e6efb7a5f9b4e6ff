-- job_logs: the kept output as text, for operators who type SQL. The chunk at the tail's edge is cut here.
DROP VIEW IF EXISTS job_logs;
CREATE VIEW job_logs AS
SELECT
    jobs.id AS job_id,
    coalesce((
        SELECT group_concat(CAST(
            CASE WHEN start_offset < jobs.stdout_start THEN substr(data, jobs.stdout_start - start_offset + 1) ELSE data END
            AS TEXT), '' ORDER BY start_offset)
        FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stdout'), '') AS stdout,
    coalesce((
        SELECT group_concat(CAST(
            CASE WHEN start_offset < jobs.stderr_start THEN substr(data, jobs.stderr_start - start_offset + 1) ELSE data END
            AS TEXT), '' ORDER BY start_offset)
        FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stderr'), '') AS stderr
FROM jobs;
