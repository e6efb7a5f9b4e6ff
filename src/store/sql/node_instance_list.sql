SELECT instance, first_seen_at, last_seen_at FROM node_instances WHERE node_id = $1
ORDER BY last_seen_at DESC LIMIT 32
