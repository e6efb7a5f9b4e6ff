-- $1 node that is being deleted, $2 now.
UPDATE jobs SET status = 'CANCELLED', finished_at = CASE WHEN $2 < created_at THEN created_at ELSE $2 END, error_msg = 'node deleted'
WHERE node_id = $1 AND status = 'QUEUED'
