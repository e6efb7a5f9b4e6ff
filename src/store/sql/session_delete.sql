-- Ends a session. $1 token's hash.
DELETE FROM sessions WHERE token_sha256 = $1
