id, status, preset, params, kind, selector, plan, if_offline, node_count, batches, released_batch, release_at,
expires_in_seconds, timeout_seconds, not_before, created_by, created_by_email, created_at, finished_at, cancelled_at,
retry_of, schedule_id, stopped_because, after_run
