-- $1: JSON array of {id, instance, ago}, with ago in milliseconds. Nothing is written for a node
-- that was deleted in the meantime.
INSERT INTO node_instances (node_id, instance, first_seen_at, last_seen_at)
SELECT nodes.id, s.instance, now() - s.ago * INTERVAL '1 millisecond', now() - s.ago * INTERVAL '1 millisecond'
FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS s (id TEXT, instance TEXT, ago BIGINT)
JOIN nodes ON nodes.id = s.id COLLATE "C"
FOR KEY SHARE OF nodes
ON CONFLICT (node_id, instance) DO UPDATE SET last_seen_at = excluded.last_seen_at
WHERE node_instances.last_seen_at <= excluded.last_seen_at
   OR node_instances.last_seen_at > now() + INTERVAL '1 minute'
