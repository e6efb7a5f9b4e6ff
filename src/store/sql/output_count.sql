UPDATE jobs SET lines = $2, position = $3,
    stdout_bytes = $4, stdout_dropped = $5, stdout_start = $6, stdout_open = $7,
    stderr_bytes = $8, stderr_dropped = $9, stderr_start = $10, stderr_open = $11, last_output_at = $12
WHERE id = $1
