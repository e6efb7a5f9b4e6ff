-- Steps from one user to the next in an index, instead of reading every job.
WITH RECURSIVE owners (id) AS (
    SELECT min(created_by) FROM jobs
    UNION ALL
    SELECT (SELECT min(created_by) FROM jobs WHERE created_by > owners.id) FROM owners WHERE owners.id IS NOT NULL)
SELECT id, (SELECT created_by_email FROM jobs WHERE created_by = owners.id ORDER BY jobs.id DESC LIMIT 1)
FROM owners WHERE id IS NOT NULL
