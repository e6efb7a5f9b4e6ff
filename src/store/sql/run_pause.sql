-- $1 run, $2 now: a further hold for each job that is not released. A job that waits only for a
-- signature is released.
UPDATE jobs SET holds = holds | 4, run_paused_at = $2
WHERE run_id = $1 AND status = 'QUEUED' AND held = 1 AND (holds & 3) <> 0
RETURNING id
