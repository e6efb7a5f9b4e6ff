-- Few rows at any time, found through the partial index. The last column is the database's clock.
SELECT id, node_id, claimed_by, timeout_seconds, confirm_seconds, started_at, CURRENT_TIMESTAMP FROM jobs WHERE status = 'RUNNING'
