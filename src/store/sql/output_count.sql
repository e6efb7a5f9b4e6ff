UPDATE jobs SET lines = $2, position = $3,
    stdout_bytes = $4, stdout_dropped = $5, stdout_start = $6, stdout_open = $7, stdout_rows = $8,
    stderr_bytes = $9, stderr_dropped = $10, stderr_start = $11, stderr_open = $12, stderr_rows = $13,
    last_output_at = $14, script_began_at = $15, stdout_hash = $16, stderr_hash = $17
WHERE id = $1
