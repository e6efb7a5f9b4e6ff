-- $1 the entry after the first one, $2 how many. What is due has no entry yet. The limit keeps
-- PostgreSQL from reading the whole ledger into a hash table for a few entries.
SELECT a.id,
    CASE WHEN EXISTS (SELECT 1 FROM ledger_due d WHERE d.row_id = a.id) THEN 1
         WHEN (SELECT l.seq FROM ledger l WHERE l.id = a.id AND l.kind = 'audit' LIMIT 1) IS NULL THEN 0
         ELSE 1 END
FROM audit_entries a WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2
