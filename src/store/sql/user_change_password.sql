-- Sets a user's password if the current hash was just checked. $1 id, $2 new hash, $3 checked hash.
UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3
