-- Records the last use of a session. $1 hash of the token, $2 time.
UPDATE sessions SET last_used_at = $2 WHERE token_sha256 = $1
