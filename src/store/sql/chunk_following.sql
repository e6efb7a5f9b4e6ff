-- The first chunk that begins after an offset.
SELECT position FROM chunks WHERE job_id = $1 AND stream = $2 AND start_offset > $3 ORDER BY start_offset LIMIT 1
