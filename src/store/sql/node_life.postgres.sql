-- Every node's last sign of life, with its age by the database's clock.
SELECT id, stopping, interval_ms, last_seen_at,
    CAST(greatest(extract(epoch FROM now() - last_seen_at) * 1000, 0) AS BIGINT)
FROM nodes
