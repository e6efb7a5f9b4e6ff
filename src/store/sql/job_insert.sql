-- The job's place in the queue follows the last QUEUED job of the node.
INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds, script_sha256,
    lines, params, script, queue_no)
VALUES ($1, 'QUEUED', $2, $3, $4, $5, $6, $7, $8, 0, $9, $10,
    coalesce((SELECT max(queue_no) FROM jobs WHERE node_id = $3 AND status = 'QUEUED'), 0) + 1)
