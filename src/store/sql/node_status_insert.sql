-- $1 node, $2 time, $3 whether it is ONLINE. Inserts nothing if the status stays the same, or
-- if the node was deleted. The time may be before the last change if the clock was set back.
INSERT INTO node_status_changes (node_id, at, online)
SELECT id, $2, $3 FROM nodes
WHERE id = $1 AND coalesce((SELECT online FROM node_status_changes WHERE node_id = $1 ORDER BY at DESC LIMIT 1), 0) <> $3
ON CONFLICT (node_id, at) DO UPDATE SET online = excluded.online
