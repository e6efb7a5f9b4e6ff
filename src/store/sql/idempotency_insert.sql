-- A conflict is possible only with an expired key, which is replaced.
INSERT INTO idempotency_keys (user_id, key, digest, job_id, created_at, run_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id, key) DO UPDATE SET digest = $3, job_id = $4, created_at = $5, run_id = $6
