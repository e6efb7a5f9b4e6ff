-- The job's place in the queue follows the last QUEUED job of the node, held or not.
INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds, script_sha256,
    lines, params, script, run_id, batch, kind, not_before, expires_at, held, holds, preset_version, preset_commit,
    envelope, signature, ledger_no, queue_no)
VALUES ($1, 'QUEUED', $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 1,
    (SELECT coalesce(max(last), 0) + 1 FROM (
        SELECT max(queue_no) AS last FROM jobs WHERE held = 0 AND node_id = $3 AND status = 'QUEUED'
        UNION ALL
        SELECT max(queue_no) FROM jobs WHERE held = 1 AND node_id = $3 AND status = 'QUEUED') AS queue))
