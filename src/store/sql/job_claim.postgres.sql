-- $1 node, $2 now, $3 agent instance or null, $4 its process or null. Returns no row if nothing can
-- be claimed or another caller won. The caller appends further columns to RETURNING. If the clock
-- was set back, the start is not before the time of queueing. Expiry is judged by
-- the database's clock, and also by $2, so that no job starts after its expiry.
-- The node is locked before the job, as in a deletion, and only if there is a job: this waits for a
-- change of the node that is being committed, and such a change waits for this claim. So nothing is
-- claimed once a pause is committed.
UPDATE jobs SET status = 'RUNNING', started_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END,
    claimed_by = $3, claimed_process = $4
WHERE id = (SELECT id FROM jobs WHERE held = 0 AND node_id = $1 AND status = 'QUEUED'
            AND (expires_at IS NULL OR expires_at > greatest($2, clock_timestamp()))
            AND (SELECT paused FROM nodes WHERE id = jobs.node_id /* for key share */) = 0
            ORDER BY queue_no, created_at, id LIMIT 1 /* skip locked */)
  AND status = 'QUEUED'
RETURNING id