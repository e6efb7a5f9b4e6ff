-- Forgets sessions that have run out. $1 the last use from which on they live.
DELETE FROM sessions WHERE last_used_at < $1
