-- $1 now, $2 why.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $1 < created_at THEN created_at ELSE $1 END, error_msg = $2,
    held = 0, holds = 0, ledger_no = ledger_no + 1
WHERE status = 'QUEUED'
