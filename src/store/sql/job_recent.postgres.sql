-- Nodes with news for their pollers that a killed server may have told nobody: a job that waits, or a cancel, of the last minute; a
-- claim of the last seconds, whose answer may be lost, too. Two partial indexes.
SELECT node_id FROM jobs WHERE status = 'QUEUED' AND created_at > now() - INTERVAL '1 minute'
UNION
SELECT node_id FROM jobs WHERE status = 'RUNNING'
    AND (cancel_requested_at > now() - INTERVAL '1 minute' OR started_at > now() - INTERVAL '6 seconds')
