-- Releases the hold not_before of up to $1 jobs whose time has come: $2. The first comparison
-- is of text and uses the index. The second one parses the time, since an operator may have typed
-- it in another format. The first batch of a run is released by the run.
UPDATE jobs SET holds = holds - 1, held = CASE WHEN holds = 1 THEN 0 ELSE 1 END
WHERE id IN (SELECT id FROM jobs WHERE status = 'QUEUED' AND (holds & 1) = 1 AND run_id IS NULL AND not_before <= $2
             AND strftime('%Y-%m-%dT%H:%M:%fZ', not_before) <= $2
             ORDER BY not_before LIMIT $1)
  AND status = 'QUEUED' AND (holds & 1) = 1
RETURNING id, node_id
