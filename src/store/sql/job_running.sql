-- Few rows at any time, found through the partial index.
SELECT id, node_id, claimed_by FROM jobs WHERE status = 'RUNNING'
