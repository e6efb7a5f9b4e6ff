-- Revokes a token, if it is that user's. $1 id, $2 user.
DELETE FROM user_tokens WHERE id = $1 AND user_id = $2 RETURNING name
