-- $1 id, $2 user, $3 name, $4 prefix, $5 hash of the token, $6 now, $7 expiry or null.
INSERT INTO user_tokens (id, user_id, name, prefix, token_sha256, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
