-- The earliest time at which a QUEUED job's hold ends or a QUEUED job expires. Uses two partial
-- indexes.
SELECT min(at) FROM (
    SELECT min(not_before) AS at FROM jobs WHERE status = 'QUEUED' AND (holds & 1) = 1 AND run_id IS NULL
    UNION ALL
    SELECT min(expires_at) FROM jobs WHERE status = 'QUEUED' AND expires_at IS NOT NULL) AS due
