-- $1 SHA-256, $2 script, $3 now. The time keeps a concurrent deletion from removing the script.
INSERT INTO scripts (sha256, script, used_at) VALUES ($1, $2, $3)
ON CONFLICT (sha256) DO UPDATE SET used_at = $3
