-- $1 job, $2 now. A repeated request keeps the first time.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, $2)
WHERE id = $1 AND (status = 'RUNNING' OR still_running = 1)
