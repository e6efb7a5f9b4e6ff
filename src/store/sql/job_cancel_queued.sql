-- $1 job, $2 now.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END,
    held = 0, holds = 0, ledger_no = ledger_no + 1
WHERE id = $1 AND status = 'QUEUED'
