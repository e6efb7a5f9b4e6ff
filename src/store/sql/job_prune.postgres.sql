-- $1: jobs that ended before this time. Their chunks are deleted by the foreign key. At most a
-- hundred jobs, so that no other write waits long. A run's jobs stay until the run has ended as long
-- ago.
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1
    AND (run_id IS NULL OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = jobs.run_id AND (runs.finished_at IS NULL OR runs.finished_at >= $1)))
    ORDER BY finished_at LIMIT 100 /* skip locked */)
RETURNING id
