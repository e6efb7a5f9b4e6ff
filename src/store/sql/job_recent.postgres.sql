-- Nodes with news of the last minute for their pollers: a job that waits, or a cancel. Two partial indexes.
SELECT node_id FROM jobs WHERE status = 'QUEUED' AND created_at > now() - INTERVAL '1 minute'
UNION
SELECT node_id FROM jobs WHERE status = 'RUNNING' AND cancel_requested_at > now() - INTERVAL '1 minute'
