-- $1 id of the token, $2 node: RUNNING jobs that were claimed without an instance and must be
-- cancelled, and a row without an id if the token is valid, which states whether the node is paused.
SELECT NULL AS id, NULL AS cancel_requested_at, NULL AS confirm_requested_at, NULL AS claimed_process, CAST(0 AS BIGINT) AS still_running,
    (SELECT paused FROM nodes WHERE id = $2) AS paused
FROM node_tokens WHERE id = $1 AND revoked_at IS NULL
UNION ALL
SELECT id, cancel_requested_at, confirm_requested_at, claimed_process, still_running, CAST(0 AS BIGINT) FROM jobs
WHERE node_id = $2 AND status = 'RUNNING' AND claimed_by IS NULL AND cancel_requested_at IS NOT NULL
