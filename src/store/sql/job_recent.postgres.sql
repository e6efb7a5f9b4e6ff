-- News for the pollers of a node that a killed server may have told nobody: a job that waits, or a cancel, of the last minute; and,
-- by name, each claim of the last half minute, whose answer may be lost. A claim is brought to its end by the database though the
-- server that asked for it is dead, within its timeouts. Two partial indexes.
SELECT node_id, NULL FROM jobs WHERE status = 'QUEUED' AND created_at > now() - INTERVAL '1 minute'
UNION
SELECT node_id, NULL FROM jobs WHERE status = 'RUNNING' AND cancel_requested_at > now() - INTERVAL '1 minute'
UNION ALL
SELECT node_id, id FROM jobs WHERE status = 'RUNNING' AND started_at > now() - INTERVAL '30 seconds'
