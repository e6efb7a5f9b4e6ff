DELETE FROM runs WHERE id IN (SELECT id FROM runs
    WHERE finished_at < $1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE run_id = runs.id) ORDER BY finished_at LIMIT 100)
RETURNING id
