-- Revokes all tokens of a user. $1 user.
DELETE FROM user_tokens WHERE user_id = $1
