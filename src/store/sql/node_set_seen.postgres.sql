-- $1: JSON array of {id, ago, stopping}, ago in milliseconds, so that the database's clock alone counts. A later sign of
-- life that another server wrote stays; one from the future (the clock was set back) does not.
UPDATE nodes SET last_seen_at = now() - s.ago * INTERVAL '1 millisecond', stopping = s.stopping
FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS s (id TEXT, ago BIGINT, stopping BIGINT)
WHERE nodes.id = s.id COLLATE "C"
  AND (last_seen_at IS NULL OR last_seen_at <= now() - s.ago * INTERVAL '1 millisecond'
    OR last_seen_at > now() + INTERVAL '1 minute')
