-- $1 the job after the first one, $2 how many. What is due has no entry yet. The limits keep
-- PostgreSQL from reading the whole ledger into a hash table for a few jobs.
SELECT j.id,
    CASE WHEN EXISTS (SELECT 1 FROM ledger_due d WHERE d.row_id = j.id) THEN 1
         WHEN (SELECT l.seq FROM ledger l WHERE l.id = j.id AND l.kind = 'job_queued' LIMIT 1) IS NULL THEN 0
         WHEN j.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND (
            SELECT l.seq FROM ledger l WHERE l.id = j.id AND l.kind IN ('job_ended', 'job_ended_by_hand') LIMIT 1
            ) IS NULL THEN 0
         ELSE 1 END
FROM jobs j WHERE j.id < $1 ORDER BY j.id DESC LIMIT $2
