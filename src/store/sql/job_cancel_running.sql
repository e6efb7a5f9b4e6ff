-- $1 job, $2 now. Asked again, the first time stands.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, $2)
WHERE id = $1 AND (status = 'RUNNING' OR still_running = 1)
