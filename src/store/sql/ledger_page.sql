-- $1 the entry before the first one, $2 how many. A job may end twice: late, after its lease ran
-- out. Only its last end must fit the row.
FROM ledger l
LEFT JOIN jobs j ON j.id = l.id AND l.kind IN ('job_queued', 'job_ended', 'job_ended_by_hand', 'job_deleted')
LEFT JOIN audit_entries a ON a.id = l.id AND l.kind = 'audit'
WHERE l.seq > $1 ORDER BY l.seq LIMIT $2
