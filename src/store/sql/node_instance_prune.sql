-- Keeps the $1 instances of each node that were seen last, since an agent can invent any number of
-- ids.
DELETE FROM node_instances WHERE (node_id, instance) IN (
    SELECT node_id, instance FROM (
        SELECT node_id, instance, row_number() OVER (PARTITION BY node_id ORDER BY last_seen_at DESC, instance) AS place
        FROM node_instances) AS placed
    WHERE place > $1)
