-- The last chunk that begins at or before an offset.
SELECT position, start_offset, CAST(length(data) AS BIGINT) FROM chunks
WHERE job_id = $1 AND stream = $2 AND start_offset <= $3
ORDER BY start_offset DESC LIMIT 1
