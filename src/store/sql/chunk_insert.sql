INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, data) VALUES ($1, $2, $3, $4, $5, $6)
