-- A user by email, which is stored in lower case. $1 email.
SELECT id, email, name, role, created_at, password_hash FROM users WHERE email = $1
