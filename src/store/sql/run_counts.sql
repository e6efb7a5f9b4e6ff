-- $1 run. An expired job is a failure, a skipped one is neither a failure nor cancelled.
SELECT CASE
        WHEN status = 'QUEUED' AND held = 1 THEN 'held'
        WHEN status = 'CANCELLED' AND error_msg LIKE 'expired:%' THEN 'failed'
        WHEN status = 'CANCELLED' AND error_msg LIKE 'skipped:%' THEN 'skipped'
        ELSE lower(status) END AS kind,
    CAST(count(*) AS BIGINT)
FROM jobs WHERE run_id = $1 GROUP BY 1
