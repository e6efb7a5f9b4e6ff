SELECT node_id, CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'QUEUED' GROUP BY node_id
