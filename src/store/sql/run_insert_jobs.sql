-- $1 JSON [[job id, node id, batch, envelope, signature, standing envelope or null], …], each node
-- once; $2 run; $3 script's SHA-256; $4 the batch that is released at once, or -1; $5 when its jobs
-- expire, or null; $6 and $7 the preset's version and commit, or null. Batch 0 is held by its
-- not_before or by the run before it, later ones by the batches before them, and a job on a node
-- that requires signatures until it has one, unless a standing envelope covers the job. Each job's place in the queue follows the last QUEUED job of its node, held or not.
INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds, script_sha256,
    lines, params, script, run_id, batch, kind, not_before, expires_at, held, holds, preset_version, preset_commit,
    envelope, signature, standing_id, signed_by, ledger_no, queue_no)
SELECT new.id, 'QUEUED', runs.preset, new.node_id, runs.created_by, runs.created_by_email, runs.created_at,
    runs.timeout_seconds, $3, 0, runs.params, '', runs.id, new.batch, runs.kind,
    CASE WHEN new.batch = 0 THEN runs.not_before END, CASE WHEN new.batch <= $4 THEN $5 END,
    CASE WHEN new.batch <= $4 AND (nodes.requires_signatures = 0 OR new.standing_id IS NOT NULL) THEN 0 ELSE 1 END,
    CASE WHEN new.batch <= $4 THEN 0 WHEN new.batch = 0 AND runs.after_run IS NULL THEN 1 ELSE 2 END
        + CASE WHEN new.standing_id IS NULL THEN nodes.requires_signatures * 8 ELSE 0 END,
    $6, $7, new.envelope, new.signature, new.standing_id,
    (SELECT signed_by FROM standing_envelopes WHERE id = new.standing_id), 1,
    (SELECT coalesce(max(last), 0) + 1 FROM (
        SELECT max(queue_no) AS last FROM jobs WHERE held = 0 AND node_id = new.node_id AND status = 'QUEUED'
        UNION ALL
        SELECT max(queue_no) FROM jobs WHERE held = 1 AND node_id = new.node_id AND status = 'QUEUED') AS queue)
FROM (SELECT value ->> 0 AS id, value ->> 1 AS node_id, value ->> 2 AS batch,
             value ->> 3 AS envelope, value ->> 4 AS signature, value ->> 5 AS standing_id
      FROM json_each($1)) AS new
JOIN runs ON runs.id = $2
JOIN nodes ON nodes.id = new.node_id
