FROM ledger_due d
LEFT JOIN jobs j ON j.id = d.row_id AND d.kind <> 'audit'
LEFT JOIN audit_entries a ON a.id = d.row_id AND d.kind = 'audit'
ORDER BY d.id LIMIT $1
