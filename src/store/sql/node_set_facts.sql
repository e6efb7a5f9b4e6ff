UPDATE nodes SET interval_ms = $2, hostname = $3, os_id = $4, os_version_id = $5, os_pretty_name = $6, agent_version = $7
WHERE id = $1
