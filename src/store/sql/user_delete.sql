-- Removes a user; their sessions and tokens go with them, their jobs stay. $1 id.
DELETE FROM users WHERE id = $1
