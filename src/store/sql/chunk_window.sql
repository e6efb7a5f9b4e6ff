-- $1 job, $2 position, $3 bytes, $4 a LIKE pattern for the stream: bytes of the other stream are
-- not read. Positions count bytes, so a range of positions is a range of bytes. The range begins at
-- the first kept chunk. The limit is for scripts that write single bytes to both streams in turn.
SELECT stream, start_offset, position, arrived_at, line, data FROM chunks
WHERE job_id = $1 AND position >= $2 AND stream LIKE $4
  AND position < (SELECT coalesce(min(position), 0) FROM chunks WHERE job_id = $1 AND position >= $2 AND stream LIKE $4) + $3
ORDER BY position LIMIT 4096
