-- $1 job, $2 now, $3 message. lost_at allows the agent to report the end that it knows, as after a
-- lost lease.
UPDATE jobs SET status = 'FAILED', error_msg = $3,
    finished_at = CASE WHEN $2 < started_at THEN started_at ELSE $2 END, lost_at = $2, ledger_no = ledger_no + 1
WHERE id = $1 AND status = 'RUNNING'
