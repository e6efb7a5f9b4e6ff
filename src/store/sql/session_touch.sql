-- Notes a session's last use. $1 token's hash, $2 when.
UPDATE sessions SET last_used_at = $2 WHERE token_sha256 = $1
