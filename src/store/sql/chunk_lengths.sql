-- $1 job, $2 position, $3 streams, a pattern of LIKE. Length of a blob is read from the row's header, not from its pages.
SELECT stream, start_offset, position, CAST(length(data) AS BIGINT) FROM chunks
WHERE job_id = $1 AND position >= $2 AND stream LIKE $3
ORDER BY position LIMIT 4096
