-- Cancels up to $1 QUEUED jobs of the run $2, '' for single jobs, whose expiry has passed by the
-- database's clock.
-- The message has the time that the job could wait in its largest unit. A job of a run waits from
-- the release of its batch.
UPDATE jobs SET status = 'CANCELLED', finished_at = greatest(now(), created_at), held = 0, holds = 0, ledger_no = ledger_no + 1,
    error_msg = 'expired: no agent came for it within ' || (
        SELECT CASE WHEN seconds % 86400 = 0 THEN CAST(seconds / 86400 AS TEXT) || ' d'
                    WHEN seconds % 3600 = 0 THEN CAST(seconds / 3600 AS TEXT) || ' h'
                    WHEN seconds % 60 = 0 THEN CAST(seconds / 60 AS TEXT) || ' min'
                    ELSE CAST(seconds AS TEXT) || ' s' END
        FROM (SELECT coalesce((SELECT expires_in_seconds FROM runs WHERE runs.id = jobs.run_id),
            CAST(extract(epoch FROM expires_at - created_at) AS BIGINT)) AS seconds) AS waited)
WHERE id IN (SELECT id FROM jobs WHERE status = 'QUEUED' AND expires_at IS NOT NULL AND coalesce(run_id, '') = $2
             AND expires_at <= now()
             ORDER BY expires_at LIMIT $1 /* skip locked */)
  AND status = 'QUEUED'
