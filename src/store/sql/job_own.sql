-- $1 id of the token, $2 node, $3 agent instance: its RUNNING jobs, its ended jobs whose script
-- still runs, and a row without an id if the token is valid, which states whether the node is paused.
-- A join or an ORDER BY would keep SQLite from using the partial indexes.
SELECT NULL AS id, NULL AS cancel_requested_at, NULL AS confirm_requested_at, NULL AS claimed_process, CAST(0 AS BIGINT) AS still_running,
    (SELECT paused FROM nodes WHERE id = $2) AS paused
FROM node_tokens WHERE id = $1 AND revoked_at IS NULL
UNION ALL
SELECT id, cancel_requested_at, confirm_requested_at, claimed_process, still_running, CAST(0 AS BIGINT)
FROM jobs WHERE node_id = $2 AND status = 'RUNNING' AND claimed_by = $3
UNION ALL
SELECT id, cancel_requested_at, confirm_requested_at, claimed_process, still_running, CAST(0 AS BIGINT)
FROM jobs WHERE node_id = $2 AND still_running = 1 AND claimed_by = $3
