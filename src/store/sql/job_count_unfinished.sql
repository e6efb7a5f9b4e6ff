-- Uses two partial indexes instead of scanning the whole history.
SELECT 'QUEUED', CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'QUEUED'
UNION ALL
SELECT 'RUNNING', CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'RUNNING'
