-- $1 node: its agent runs only signed jobs from now on.
UPDATE jobs SET holds = holds | 8, held = 1
WHERE held IN (0, 1) AND node_id = $1 AND status = 'QUEUED' AND person_signature IS NULL
  AND standing_id IS NULL AND (holds & 8) = 0
RETURNING id
