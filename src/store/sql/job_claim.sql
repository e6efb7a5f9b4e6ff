-- $1 node, $2 now, $3 agent instance or null. No row: nothing to do, or another caller won. What more it gives is added.
UPDATE jobs SET status = 'RUNNING', started_at = $2, claimed_by = $3
WHERE id = (SELECT id FROM jobs WHERE node_id = $1 AND status = 'QUEUED'
            ORDER BY created_at, id LIMIT 1 /* skip locked */)
  AND status = 'QUEUED'
RETURNING id
