-- $1 job, $2 status, $3 now, $4 exit code, $5 signal, $6 error, $7 digest, $8 to $11 counts, $12 how long bash ran,
-- $13 to $15 the hashes of the streams.
-- The second condition is for a job whose lease ran out and whose agent completes it late, once.
UPDATE jobs SET status = $2, finished_at = CASE WHEN $3 < started_at THEN started_at ELSE $3 END,
    still_running = 0, exit_code = $4, signal = $5, error_msg = $6, complete_digest = $7,
    stdout_bytes = $8, stdout_dropped = $9, stderr_bytes = $10, stderr_dropped = $11, ran_ms = $12,
    stdout_sha256 = $13, stderr_sha256 = $14, output_verified = $15, stdout_hash = NULL, stderr_hash = NULL,
    ledger_no = ledger_no + 1,
    recovered_at = CASE WHEN status = 'RUNNING' THEN NULL ELSE $3 END
WHERE id = $1
  AND (status = 'RUNNING' OR (status = 'FAILED' AND lost_at IS NOT NULL AND recovered_at IS NULL))
