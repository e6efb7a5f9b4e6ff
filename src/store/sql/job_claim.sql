-- $1 node, $2 now, $3 agent instance or null, $4 its process or null. Returns no row if nothing can
-- be claimed or another caller won. The caller appends further columns to RETURNING. If the clock
-- was set back, the start is not before the time of queueing. An operator may have typed the expiry
-- in another format.
UPDATE jobs SET status = 'RUNNING', started_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END,
    claimed_by = $3, claimed_process = $4
WHERE id = (SELECT id FROM jobs WHERE held = 0 AND node_id = $1 AND status = 'QUEUED'
            AND (expires_at IS NULL OR strftime('%Y-%m-%dT%H:%M:%fZ', expires_at) > $2)
            ORDER BY queue_no, created_at, id LIMIT 1 /* skip locked */)
  AND status = 'QUEUED'
RETURNING id