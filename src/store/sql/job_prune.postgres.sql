-- $1: ended before. Their chunks go by the foreign key. A hundred at a time, so that no other write waits long.
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT 100 /* skip locked */)
