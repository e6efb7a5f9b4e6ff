-- $1 job, $2 status, $3 now, $4 exit code, $5 signal, $6 error, $7 digest, $8 to $11 counts, $12 how long bash ran.
-- The second condition is for a job whose lease ran out and whose agent completes it late, once.
UPDATE jobs SET status = $2, finished_at = CASE WHEN $3 < started_at THEN started_at ELSE $3 END,
    still_running = 0, exit_code = $4, signal = $5, error_msg = $6, complete_digest = $7,
    stdout_bytes = $8, stdout_dropped = $9, stderr_bytes = $10, stderr_dropped = $11, ran_ms = $12,
    recovered_at = CASE WHEN status = 'RUNNING' THEN NULL ELSE $3 END
WHERE id = $1
  AND (status = 'RUNNING' OR (status = 'FAILED' AND lost_at IS NOT NULL AND recovered_at IS NULL))
