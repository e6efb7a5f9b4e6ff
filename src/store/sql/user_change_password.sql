-- Sets a user's password if it is still the one that was just proved. $1 id, $2 new hash, $3 proved hash.
UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3
