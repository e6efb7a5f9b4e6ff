-- $1 job, $2 lease in milliseconds. lost_at tells the lease's verdict from an operator's. Several servers hear agents, and
-- each writes down what it heard: the job is lost when none heard its instance (without one: its node) for a lease.
UPDATE jobs SET status = 'FAILED', error_msg = 'agent disappeared', finished_at = greatest(now(), started_at), lost_at = now()
WHERE id = $1 AND status = 'RUNNING'
  AND NOT EXISTS (
    SELECT 1 FROM node_instances i
    WHERE i.node_id = jobs.node_id AND i.instance = jobs.claimed_by
      AND i.last_seen_at BETWEEN now() - $2 * INTERVAL '1 millisecond' AND now() + INTERVAL '1 minute')
  AND NOT EXISTS (
    SELECT 1 FROM nodes n
    WHERE jobs.claimed_by IS NULL AND n.id = jobs.node_id
      AND n.last_seen_at BETWEEN now() - $2 * INTERVAL '1 millisecond' AND now() + INTERVAL '1 minute')
