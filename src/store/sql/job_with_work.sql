-- Nodes with something for their pollers: a job that waits, or a cancel. Two partial indexes.
SELECT node_id FROM jobs WHERE status = 'QUEUED'
UNION
SELECT node_id FROM jobs WHERE status = 'RUNNING' AND cancel_requested_at IS NOT NULL
