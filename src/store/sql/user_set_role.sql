-- Changes a user's role. $1 id, $2 role.
UPDATE users SET role = $2 WHERE id = $1
