-- Starts a session if the user exists and still has the password that was just checked. A change of
-- the password in between also revokes this session. $1 hash of the token, $2 user, $3 now, $4
-- checked password hash.
INSERT INTO sessions (token_sha256, user_id, created_at, last_used_at)
SELECT $1, id, $3, $3 FROM users WHERE id = $2 AND password_hash = $4 /* for share */
