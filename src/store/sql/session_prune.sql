-- Deletes expired sessions. $1 the oldest last use of a valid session.
DELETE FROM sessions WHERE last_used_at < $1
