-- $1 job, $2 position, $3 bytes, $4 streams, a pattern of LIKE: the bytes of the other stream are not read. Positions count
-- bytes, so a window of positions is a window of bytes; it begins at the first chunk that is still kept. The limit is for a
-- script that writes single bytes to both streams in turn.
SELECT stream, start_offset, position, arrived_at, line, data FROM chunks
WHERE job_id = $1 AND position >= $2 AND stream LIKE $4
  AND position < (SELECT coalesce(min(position), 0) FROM chunks WHERE job_id = $1 AND position >= $2 AND stream LIKE $4) + $3
ORDER BY position LIMIT 4096
