-- $1 token's id, $2 node, $3 agent instance: its RUNNING jobs, and a row of nulls where the token is still good. Not a join, as
-- SQLite would not take the partial index for it; nor in order, for which it takes another one.
SELECT NULL AS id, NULL AS cancel_requested_at FROM node_tokens WHERE id = $1 AND revoked_at IS NULL
UNION ALL
SELECT id, cancel_requested_at FROM jobs WHERE node_id = $2 AND status = 'RUNNING' AND claimed_by = $3
