UPDATE jobs SET position = $2, stdout_bytes = $3, stdout_dropped = $4, stdout_start = $5,
    stderr_bytes = $6, stderr_dropped = $7, stderr_start = $8, last_output_at = $9
WHERE id = $1
