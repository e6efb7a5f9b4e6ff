-- $1 run. Every job that the pause holds has another hold as well.
UPDATE jobs SET holds = holds & 11, run_paused_at = NULL WHERE run_id = $1 AND status = 'QUEUED' AND held = 1
RETURNING id
