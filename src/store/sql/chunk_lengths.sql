-- $1 job, $2 position, $3 a LIKE pattern for the stream. SQLite reads a blob's length from the
-- row's header, without reading the blob.
SELECT stream, start_offset, position, CAST(length(data) AS BIGINT) FROM chunks
WHERE job_id = $1 AND position >= $2 AND stream LIKE $3
ORDER BY position LIMIT 4096
