-- The latest attempts from an address on any account, newest first. $1 address, $2 how many.
SELECT at FROM login_attempts WHERE address = $1 ORDER BY at DESC LIMIT $2
