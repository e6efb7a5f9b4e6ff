-- $1 time, $2 number.
DELETE FROM node_status_changes WHERE (node_id, at) IN (
    SELECT node_id, at FROM (
        SELECT node_id, at, lead(at) OVER (PARTITION BY node_id ORDER BY at) AS next,
            row_number() OVER (PARTITION BY node_id ORDER BY at DESC) AS place
        FROM node_status_changes) AS placed
    WHERE next <= $1 OR place > $2)
