-- $1 job, $2 now, $3 message. Without lost_at, so that no later report changes it.
UPDATE jobs SET status = 'FAILED', error_msg = $3, finished_at = CASE WHEN $2 < started_at THEN started_at ELSE $2 END,
    ledger_no = ledger_no + 1
WHERE id = $1 AND status = 'RUNNING'
