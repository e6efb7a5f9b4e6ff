-- The latest attempts on an account from an address, newest first. $1 account, $2 address, $3 how
-- many.
SELECT at FROM login_attempts WHERE account = $1 AND address = $2 ORDER BY at DESC LIMIT $3
