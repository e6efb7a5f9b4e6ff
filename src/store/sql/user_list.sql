-- All users in the order in which they were added.
SELECT id, email, name, role, created_at, password_hash FROM users ORDER BY created_at, id
