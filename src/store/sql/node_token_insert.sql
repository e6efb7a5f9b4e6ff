INSERT INTO node_tokens (id, node_id, prefix, token_sha256, created_at) VALUES ($1, $2, $3, $4, $5)
