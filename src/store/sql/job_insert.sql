INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds, script_sha256,
    lines, params, script)
VALUES ($1, 'QUEUED', $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)
