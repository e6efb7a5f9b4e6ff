-- Changes that waiting polls may have missed because a server was killed before it could announce
-- them: jobs queued, cancelled or confirmed in the last minute, and claims of the last half minute, whose
-- responses may be lost. The database finishes a claim within its timeouts even if the server that
-- sent it is dead. Uses two partial indexes.
SELECT node_id, NULL FROM jobs WHERE held = 0 AND status = 'QUEUED' AND created_at > now() - INTERVAL '1 minute'
UNION
SELECT node_id, NULL FROM jobs WHERE status = 'RUNNING' AND cancel_requested_at > now() - INTERVAL '1 minute'
UNION
SELECT node_id, NULL FROM jobs WHERE status = 'RUNNING' AND confirm_requested_at > now() - INTERVAL '1 minute'
UNION ALL
SELECT node_id, id FROM jobs WHERE status = 'RUNNING' AND started_at > now() - INTERVAL '30 seconds'
