-- $9 is the batch that is released at once, or -1. Then $10 is when batch 0 is released, or null if
-- it waits for the run $20.
INSERT INTO runs (id, status, preset, params, kind, selector, plan, if_offline, node_count, batches, released_batch,
    release_at, expires_in_seconds, timeout_seconds, not_before, created_by, created_by_email, created_at, retry_of,
    schedule_id, after_run)
VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $7, $8, $11, $9, $10, $12, $13, $14, $15, $16, $17, $18, $19, $20)
