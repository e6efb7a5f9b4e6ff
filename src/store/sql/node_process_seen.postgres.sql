-- $1: JSON array of {id, instance, process, ago}, with ago in milliseconds. The first process that
-- is stored stays until it has been silent for 90 s, longer than any poll.
UPDATE node_instances SET process = s.process, process_seen_at = now() - s.ago * INTERVAL '1 millisecond'
FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS s (id TEXT, instance TEXT, process TEXT, ago BIGINT)
WHERE node_instances.node_id = s.id COLLATE "C" AND node_instances.instance = s.instance COLLATE "C"
  AND (node_instances.process IS NULL
    OR (node_instances.process = s.process COLLATE "C"
      AND node_instances.process_seen_at <= now() - s.ago * INTERVAL '1 millisecond')
    OR node_instances.process_seen_at < now() - INTERVAL '90 seconds')
