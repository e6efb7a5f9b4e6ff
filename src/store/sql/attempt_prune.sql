-- Deletes attempts that no longer count: older than $1, or later than $2 if the clock was set back.
DELETE FROM login_attempts WHERE at <= $1 OR at > $2
