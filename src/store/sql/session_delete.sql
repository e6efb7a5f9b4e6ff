-- Ends a session. $1 hash of the token.
DELETE FROM sessions WHERE token_sha256 = $1
