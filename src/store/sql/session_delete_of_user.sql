-- Ends a user's sessions. $1 user.
DELETE FROM sessions WHERE user_id = $1
