-- Length of a blob is read from the row's header, not from its pages.
SELECT start_offset, CAST(length(data) AS BIGINT) FROM chunks
WHERE job_id = $1 AND stream = $2 ORDER BY start_offset LIMIT 256
