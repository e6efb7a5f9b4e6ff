INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, line, data)
VALUES ($1, $2, $3, $4, $5, $6, $7)
