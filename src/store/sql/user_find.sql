-- A user by id. $1 id.
SELECT id, email, name, role, created_at, password_hash FROM users WHERE id = $1
