-- $1 id, $2 now, $3 actor, $4 action, $5 job or null, $6 node or null, $7 detail or null.
INSERT INTO audit_entries (id, at, actor, action, job_id, node_id, detail, ledger_no)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
