-- $1: jobs that ended before this time. Their chunks are deleted by the foreign key. At most a
-- hundred jobs, so that no other write waits long.
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT 100 /* skip locked */)
