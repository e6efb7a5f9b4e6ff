-- The node that an agent's token stands for. $1 token's hash.
SELECT id, node_id, last_used_at FROM node_tokens WHERE token_sha256 = $1 AND revoked_at IS NULL
