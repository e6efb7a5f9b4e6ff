-- Two partial indexes, not a walk over all of history.
SELECT 'QUEUED', CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'QUEUED'
UNION ALL
SELECT 'RUNNING', CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'RUNNING'
