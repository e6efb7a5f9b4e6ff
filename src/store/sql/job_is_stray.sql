-- $1 job, $2 node, $3 agent instance: a row if the job has ended here without a report of this
-- agent, which claimed it.
SELECT id FROM jobs
WHERE id = $1 AND node_id = $2 AND claimed_by = $3 AND status NOT IN ('QUEUED', 'RUNNING')
  AND complete_digest IS NULL AND still_running = 0
