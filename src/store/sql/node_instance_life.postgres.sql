-- Agent instances that were seen within $1 milliseconds, with the age of the sign of life, and with
-- the first process of the instance and the age of its last poll.
SELECT node_id, instance, CAST(greatest(extract(epoch FROM now() - last_seen_at) * 1000, 0) AS BIGINT),
    process, CAST(greatest(extract(epoch FROM now() - process_seen_at) * 1000, 0) AS BIGINT)
FROM node_instances WHERE last_seen_at > now() - $1 * INTERVAL '1 millisecond'
