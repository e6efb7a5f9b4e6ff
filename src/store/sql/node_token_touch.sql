-- Records the last use of a node token. $1 id, $2 time.
UPDATE node_tokens SET last_used_at = $2 WHERE id = $1
