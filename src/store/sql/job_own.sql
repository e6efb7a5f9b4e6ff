-- $1 token's id, $2 node, $3 agent instance: its RUNNING jobs, those that have ended here while their script runs on, and a row
-- of nulls if the token is still good. Not a join, as SQLite would not use the partial indexes for it; nor in order, for which it
-- uses another one.
SELECT NULL AS id, NULL AS cancel_requested_at, NULL AS claimed_process, CAST(0 AS BIGINT) AS still_running
FROM node_tokens WHERE id = $1 AND revoked_at IS NULL
UNION ALL
SELECT id, cancel_requested_at, claimed_process, still_running
FROM jobs WHERE node_id = $2 AND status = 'RUNNING' AND claimed_by = $3
UNION ALL
SELECT id, cancel_requested_at, claimed_process, still_running
FROM jobs WHERE node_id = $2 AND still_running = 1 AND claimed_by = $3
