-- The user that a session's token stands for, when it was used last and when it began. $1 token's hash.
SELECT u.id, u.email, u.name, u.role, u.created_at, s.last_used_at, s.created_at
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_sha256 = $1
