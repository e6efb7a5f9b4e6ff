-- $1 job, $2 position, $3 bytes, $4 streams, a pattern of LIKE. As chunk_window.sql, of the streams that are asked for: the
-- others' bytes are not read.
SELECT stream, start_offset, position, arrived_at, line, data FROM chunks
WHERE job_id = $1 AND position >= $2 AND stream LIKE $4
  AND position < (SELECT coalesce(min(position), 0) FROM chunks WHERE job_id = $1 AND position >= $2 AND stream LIKE $4) + $3
ORDER BY position LIMIT 4096
