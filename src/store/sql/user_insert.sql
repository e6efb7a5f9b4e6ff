-- $1 id, $2 email, $3 name, $4 role, $5 password hash, $6 now. Changes no row if the email is
-- taken.
INSERT INTO users (id, email, name, role, password_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (email) DO NOTHING
