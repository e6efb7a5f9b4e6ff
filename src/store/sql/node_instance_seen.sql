-- The node may have gone meanwhile: then there is nothing to write.
INSERT INTO node_instances (node_id, instance, first_seen_at, last_seen_at)
SELECT id, $2, $3, $3 FROM nodes WHERE id = $1 /* for key share */
ON CONFLICT (node_id, instance) DO UPDATE SET last_seen_at = $3
