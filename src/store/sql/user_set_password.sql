-- Sets a user's password. $1 id, $2 new hash.
UPDATE users SET password_hash = $2 WHERE id = $1
