-- QUEUED jobs from before jobs were signed.
SELECT id, preset, node_id, kind, timeout_seconds, script_sha256, created_at, expires_at, created_by_email,
    (SELECT sealed FROM job_secrets WHERE job_id = jobs.id)
FROM jobs WHERE status = 'QUEUED' AND envelope IS NULL
