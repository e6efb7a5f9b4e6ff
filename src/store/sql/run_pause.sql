-- $1 run, $2 now: a further hold for each job that is not released.
UPDATE jobs SET holds = holds | 4, run_paused_at = $2 WHERE run_id = $1 AND status = 'QUEUED' AND held = 1
RETURNING id
