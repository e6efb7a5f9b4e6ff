-- Starts a session, if the user is still there and has the password that was just proved: a password changed in
-- between has revoked this session too. $1 token's hash, $2 user, $3 now, $4 proved password hash.
INSERT INTO sessions (token_sha256, user_id, created_at, last_used_at)
SELECT $1, id, $3, $3 FROM users WHERE id = $2 AND password_hash = $4 /* for share */
