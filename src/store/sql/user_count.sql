-- How many users there are: with none, the next one sets the server up.
SELECT CAST(count(*) AS BIGINT) FROM users
