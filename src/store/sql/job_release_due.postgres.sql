-- Releases the hold not_before of up to $1 jobs whose time has come by the
-- database's clock. The first batch of a run is released by the run.
UPDATE jobs SET holds = holds - 1, held = CASE WHEN holds = 1 THEN 0 ELSE 1 END
WHERE id IN (SELECT id FROM jobs WHERE status = 'QUEUED' AND (holds & 1) = 1 AND run_id IS NULL AND not_before <= now()
             ORDER BY not_before LIMIT $1 /* skip locked */)
  AND status = 'QUEUED' AND (holds & 1) = 1
RETURNING id, node_id
