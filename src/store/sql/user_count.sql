-- Counts users. Without any user, the next one sets the server up.
SELECT CAST(count(*) AS BIGINT) FROM users
