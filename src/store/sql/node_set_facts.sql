UPDATE nodes SET interval_ms = $2, hostname = $3, os_id = $4, os_id_like = $5, os_version_id = $6,
    os_pretty_name = $7, agent_version = $8, problem = $9, requires_signatures = $10,
    trusted_keys = $11
WHERE id = $1
