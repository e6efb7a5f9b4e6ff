-- Entries, newest first. $1 how many. Null matches any value: $2 older than this id, $3 actor,
-- $4 action, $5 job, $6 node. The casts give PostgreSQL the types of `$n IS NULL`.
SELECT id, at, actor, action, job_id, node_id, detail
FROM audit_entries
WHERE (CAST($2 AS TEXT) IS NULL OR id < $2)
  AND (CAST($3 AS TEXT) IS NULL OR actor = $3)
  AND (CAST($4 AS TEXT) IS NULL OR action = $4)
  AND (CAST($5 AS TEXT) IS NULL OR job_id = $5)
  AND (CAST($6 AS TEXT) IS NULL OR node_id = $6)
ORDER BY id DESC LIMIT $1
