id, name, labels, created_at, last_seen_at, stopping, interval_ms, hostname, os_id, os_id_like, os_version_id,
os_pretty_name, agent_version, problem, requires_signatures, trusted_keys, copied_at, paused, facts, facts_at, refused, refused_at,
refused_job_id, refused_because
