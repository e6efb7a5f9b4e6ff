id, status, preset, node_id, created_by, created_by_email, created_at, started_at, finished_at, exit_code, signal,
error_msg, timeout_seconds, cancel_requested_at, confirm_by, confirm_seconds, confirm_requested_at, recovered_at, lost_at, claimed_by, claimed_process, still_running, run_id, batch, kind,
not_before, expires_at, CASE WHEN status = 'QUEUED' THEN held * holds ELSE 0 END, run_paused_at, step, complete_digest, script_sha256,
preset_version, preset_commit, pid, lines, position, stdout_bytes, stdout_dropped, stdout_start, stdout_open, stdout_rows, stderr_bytes, stderr_dropped, stderr_start,
stderr_open, stderr_rows, last_output_at, script_began_at, ran_ms, signed_by, stdout_sha256, stderr_sha256, output_verified, stdout_hash, stderr_hash,
CASE WHEN kind = 'check' AND finished_at IS NOT NULL THEN (
    SELECT count(CASE WHEN s.name LIKE '% (ok)' THEN 1 END) || ' ' || count(CASE WHEN s.name LIKE '% (would run)' THEN 1 END)
        || ' ' || count(CASE WHEN s.name LIKE '% (can''t tell)' THEN 1 END)
    FROM job_steps s WHERE s.job_id = jobs.id) END,
params
