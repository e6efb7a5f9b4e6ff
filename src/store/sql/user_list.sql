-- Everybody, in the order in which they came.
SELECT id, email, name, role, created_at, password_hash FROM users ORDER BY created_at, id
