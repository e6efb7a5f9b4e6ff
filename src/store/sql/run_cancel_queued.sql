-- $1 run, $2 now, $3 why, or null if a person cancelled the run.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END, error_msg = $3,
    held = 0, holds = 0, ledger_no = ledger_no + 1
WHERE run_id = $1 AND status = 'QUEUED'
