-- $1 run. Ids are in the order of the nodes.
SELECT id, node_id, batch, status, exit_code, error_msg, step, started_at, finished_at,
    CASE WHEN status = 'QUEUED' THEN held * holds ELSE 0 END, not_before, run_paused_at, created_at, confirm_by
FROM jobs WHERE run_id = $1 ORDER BY batch, id
