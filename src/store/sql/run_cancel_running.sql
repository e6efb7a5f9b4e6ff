-- $1 run, $2 now.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, $2)
WHERE run_id = $1 AND status IN ('RUNNING', 'FAILED', 'CANCELLED') AND (status = 'RUNNING' OR still_running = 1)
RETURNING id, node_id
