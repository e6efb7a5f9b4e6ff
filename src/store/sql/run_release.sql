-- $1 run, $2 batch, $3 when its jobs expire, or null. A job that waits for a signature stays held.
UPDATE jobs SET expires_at = $3, holds = holds & 8, held = CASE WHEN holds & 8 = 8 THEN 1 ELSE 0 END, run_paused_at = NULL
WHERE run_id = $1 AND status = 'QUEUED' AND batch = $2
RETURNING id, node_id
