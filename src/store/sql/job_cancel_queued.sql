-- $1 job, $2 now.
UPDATE jobs SET status = 'CANCELLED', finished_at = $2 WHERE id = $1 AND status = 'QUEUED'
