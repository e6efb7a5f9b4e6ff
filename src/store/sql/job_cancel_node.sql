-- $1 node that is being deleted, $2 now.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END, error_msg = 'node deleted',
    held = 0, holds = 0, ledger_no = ledger_no + 1
WHERE held IN (0, 1) AND node_id = $1 AND status = 'QUEUED'
