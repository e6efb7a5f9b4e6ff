-- $1 run, $2 the last released batch: the number of failures (FAILED and expired jobs), whether a
-- released job has not ended, whether any job has not, and whether any succeeded.
SELECT CAST((SELECT count(*) FROM jobs WHERE run_id = $1 AND status = 'FAILED')
        + (SELECT count(*) FROM jobs WHERE run_id = $1 AND status = 'CANCELLED' AND error_msg LIKE 'expired:%') AS BIGINT),
    CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE run_id = $1 AND status = 'QUEUED' AND batch <= $2)
        OR EXISTS (SELECT 1 FROM jobs WHERE run_id = $1 AND status = 'RUNNING' AND batch <= $2) THEN 1 ELSE 0 END,
    CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE run_id = $1 AND status = 'QUEUED')
        OR EXISTS (SELECT 1 FROM jobs WHERE run_id = $1 AND status = 'RUNNING') THEN 1 ELSE 0 END,
    CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE run_id = $1 AND status = 'SUCCEEDED') THEN 1 ELSE 0 END
