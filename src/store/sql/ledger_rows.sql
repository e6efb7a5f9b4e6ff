j.id, j.preset, j.node_id, j.created_by, j.created_by_email, j.created_at, j.timeout_seconds, j.script_sha256, j.params,
j.run_id, j.batch, j.kind, j.status, j.started_at, j.finished_at, j.exit_code, j.signal, j.error_msg, j.recovered_at,
j.complete_digest, j.stdout_sha256, j.stderr_sha256, j.output_verified,
a.id, a.at, a.actor, a.action, a.job_id, a.node_id, a.detail
