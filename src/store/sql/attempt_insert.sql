-- Records an attempt before its password is checked. $1 id, $2 account, $3 address, $4 now.
INSERT INTO login_attempts (id, account, address, at) VALUES ($1, $2, $3, $4)
