-- $1 run, $2 batch, $3 now, $4 JSON list of offline nodes.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $3 < created_at THEN created_at ELSE $3 END,
    error_msg = 'skipped: ' || node_id || ' is offline', held = 0, holds = 0, ledger_no = ledger_no + 1
WHERE run_id = $1 AND batch = $2 AND status = 'QUEUED' AND node_id IN (SELECT value FROM json_each($4))
