-- Ends a user's sessions except one. $1 user, $2 hash of the token that stays.
DELETE FROM sessions WHERE user_id = $1 AND token_sha256 <> $2
