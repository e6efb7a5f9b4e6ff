-- Cancels up to $1 QUEUED jobs of the run $3, '' for single jobs, whose expiry has passed: $2. The first comparison
-- is of text and uses the index. The second one parses the time, since an operator may have typed
-- it in another format.
-- The message has the time that the job could wait in its largest unit. A job of a run waits from
-- the release of its batch.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END, held = 0, holds = 0, ledger_no = ledger_no + 1,
    error_msg = 'expired: no agent came for it within ' || (
        SELECT CASE WHEN seconds % 86400 = 0 THEN CAST(seconds / 86400 AS TEXT) || ' d'
                    WHEN seconds % 3600 = 0 THEN CAST(seconds / 3600 AS TEXT) || ' h'
                    WHEN seconds % 60 = 0 THEN CAST(seconds / 60 AS TEXT) || ' min'
                    ELSE CAST(seconds AS TEXT) || ' s' END
        FROM (SELECT coalesce((SELECT expires_in_seconds FROM runs WHERE runs.id = jobs.run_id),
            CAST(round((julianday(expires_at) - julianday(created_at)) * 86400) AS BIGINT)) AS seconds) AS waited)
WHERE id IN (SELECT id FROM jobs WHERE status = 'QUEUED' AND expires_at IS NOT NULL AND coalesce(run_id, '') = $3
             AND expires_at <= $2
             AND strftime('%Y-%m-%dT%H:%M:%fZ', expires_at) <= $2
             ORDER BY expires_at LIMIT $1)
  AND status = 'QUEUED'
