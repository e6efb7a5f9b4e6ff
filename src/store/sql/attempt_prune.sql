-- Forgets attempts that no longer count: older than $1, or, after the clock was set back, later than $2.
DELETE FROM login_attempts WHERE at <= $1 OR at > $2
