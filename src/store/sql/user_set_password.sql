-- Sets a user's password, whatever it was. $1 id, $2 new hash.
UPDATE users SET password_hash = $2 WHERE id = $1
