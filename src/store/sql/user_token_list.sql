-- A user's tokens, newest first, including expired ones. $1 user.
SELECT id, name, prefix, created_at, expires_at, last_used_at
FROM user_tokens WHERE user_id = $1 ORDER BY created_at DESC, id DESC
