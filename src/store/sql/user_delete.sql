-- Removes a user with their sessions and tokens. Their jobs stay. $1 id.
DELETE FROM users WHERE id = $1
