-- $1: ended before. Their chunks go by the foreign key. A hundred at a time, so that no other write waits long.
-- Text is compared for the index's sake; the second look reads the time as what it is, as an operator may have typed it with a
-- space or an offset. What is no time at all stays. One east of Greenwich goes later by its offset, none goes early.
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1
    AND strftime('%Y-%m-%dT%H:%M:%fZ', finished_at) < $1 ORDER BY finished_at LIMIT 100)
