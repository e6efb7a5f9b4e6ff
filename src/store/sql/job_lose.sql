-- $1 job, $2 now. lost_at distinguishes an expired lease from a row changed by hand.
UPDATE jobs SET status = 'FAILED', error_msg = 'agent disappeared', 
    finished_at = CASE WHEN $2 < started_at THEN started_at ELSE $2 END, lost_at = $2, ledger_no = ledger_no + 1
WHERE id = $1 AND status = 'RUNNING'
