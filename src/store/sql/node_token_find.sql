-- The node of an agent's token. $1 hash of the token.
SELECT id, node_id, last_used_at FROM node_tokens WHERE token_sha256 = $1 AND revoked_at IS NULL
