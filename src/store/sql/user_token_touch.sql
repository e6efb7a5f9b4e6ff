-- Records the last use of a personal token. $1 id, $2 time.
UPDATE user_tokens SET last_used_at = $2 WHERE id = $1
