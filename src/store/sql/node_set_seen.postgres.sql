-- $1: JSON array of {id, ago, stopping}, with ago in milliseconds, so that only the database's
-- clock counts. A later sign of life stored by another server stays, unless it is in the future
-- because the clock was set back.
UPDATE nodes SET last_seen_at = now() - s.ago * INTERVAL '1 millisecond', stopping = s.stopping
FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS s (id TEXT, ago BIGINT, stopping BIGINT)
WHERE nodes.id = s.id COLLATE "C"
  AND (last_seen_at IS NULL OR last_seen_at <= now() - s.ago * INTERVAL '1 millisecond'
    OR last_seen_at > now() + INTERVAL '1 minute')
