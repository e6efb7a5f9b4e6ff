-- $1 the current time, $2 the last leap or null.
INSERT INTO retention_clock (id, seen_at, steady_since) VALUES (1, $1, $2)
ON CONFLICT (id) DO UPDATE SET seen_at = $1, steady_since = $2
