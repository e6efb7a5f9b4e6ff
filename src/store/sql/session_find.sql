-- A session's user, its last use and its start. $1 hash of the token.
SELECT u.id, u.email, u.name, u.role, u.created_at, s.last_used_at, s.created_at
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_sha256 = $1
