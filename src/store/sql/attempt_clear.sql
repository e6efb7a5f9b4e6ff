-- Resets the count after a correct password. $1 account, $2 address.
DELETE FROM login_attempts WHERE account = $1 AND address = $2
