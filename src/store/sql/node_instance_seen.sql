-- Nothing is written for a node that was deleted in the meantime.
INSERT INTO node_instances (node_id, instance, first_seen_at, last_seen_at)
SELECT id, $2, $3, $3 FROM nodes WHERE id = $1 /* for key share */
ON CONFLICT (node_id, instance) DO UPDATE SET last_seen_at = $3
