UPDATE nodes SET last_seen_at = $2, stopping = $3 WHERE id = $1
