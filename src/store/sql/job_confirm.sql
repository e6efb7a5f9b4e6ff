-- $1 job, $2 now. A repeated request keeps the first time.
UPDATE jobs SET confirm_requested_at = coalesce(confirm_requested_at, $2)
WHERE id = $1 AND (status = 'RUNNING' OR still_running = 1) AND confirm_by IS NOT NULL AND cancel_requested_at IS NULL
