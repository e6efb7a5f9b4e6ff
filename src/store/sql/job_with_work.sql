-- Nodes with a job that can be claimed or a cancel or confirmation for their agent. Uses two partial indexes.
SELECT node_id FROM jobs WHERE held = 0 AND status = 'QUEUED'
UNION
SELECT node_id FROM jobs WHERE status = 'RUNNING' AND (cancel_requested_at IS NOT NULL OR confirm_requested_at IS NOT NULL)
