-- $1 node that is being deleted, $2 now.
UPDATE jobs SET status = 'CANCELLED', finished_at = $2, error_msg = 'node deleted'
WHERE node_id = $1 AND status = 'QUEUED'
RETURNING id
