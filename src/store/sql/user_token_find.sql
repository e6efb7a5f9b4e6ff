-- The user of a personal token. $1 hash of the token.
SELECT u.id, u.email, u.name, u.role, u.created_at, t.id, t.expires_at, t.last_used_at, t.created_at
FROM user_tokens t JOIN users u ON u.id = t.user_id
WHERE t.token_sha256 = $1
