-- $1 node: its agent no longer needs the signatures of people.
UPDATE jobs SET holds = holds & 7, held = CASE WHEN (holds & 7) = 0 THEN 0 ELSE 1 END
WHERE held = 1 AND node_id = $1 AND status = 'QUEUED' AND (holds & 8) = 8
RETURNING id
