SELECT id, prefix, created_at, last_used_at, revoked_at FROM node_tokens WHERE node_id = $1 ORDER BY id
