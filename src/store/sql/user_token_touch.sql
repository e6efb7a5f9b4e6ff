-- Notes a personal token's last use. $1 id, $2 when.
UPDATE user_tokens SET last_used_at = $2 WHERE id = $1
