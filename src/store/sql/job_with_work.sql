-- Nodes with a QUEUED job or a cancel for their agent. Uses two partial indexes.
SELECT node_id FROM jobs WHERE status = 'QUEUED'
UNION
SELECT node_id FROM jobs WHERE status = 'RUNNING' AND cancel_requested_at IS NOT NULL
