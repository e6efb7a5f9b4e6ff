-- $1 job, $2 lease in milliseconds. lost_at distinguishes an expired lease from a row changed by
-- hand. Agents may be connected to several servers, each of which stores the signs of life that it
-- receives. The job is lost if no server has received one from its instance (without an instance:
-- from its node) for a whole lease.
UPDATE jobs SET status = 'FAILED', error_msg = 'agent disappeared', finished_at = greatest(now(), started_at), lost_at = now(),
    ledger_no = ledger_no + 1
WHERE id = $1 AND status = 'RUNNING'
  AND NOT EXISTS (
    SELECT 1 FROM node_instances i
    WHERE i.node_id = jobs.node_id AND i.instance = jobs.claimed_by
      AND i.last_seen_at BETWEEN now() - $2 * INTERVAL '1 millisecond' AND now() + INTERVAL '1 minute')
  AND NOT EXISTS (
    SELECT 1 FROM nodes n
    WHERE jobs.claimed_by IS NULL AND n.id = jobs.node_id
      AND n.last_seen_at BETWEEN now() - $2 * INTERVAL '1 millisecond' AND now() + INTERVAL '1 minute')
