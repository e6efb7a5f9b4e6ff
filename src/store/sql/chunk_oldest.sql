-- SQLite reads a blob's length from the row's header, without reading the blob.
SELECT start_offset, CAST(length(data) AS BIGINT) FROM chunks
WHERE job_id = $1 AND stream = $2 ORDER BY start_offset LIMIT 256
