UPDATE schedules SET request = $2, preset = coalesce($3, preset), cron = $4, time_zone = $5, paused = $6, paused_because = $7,
    next_due_at = $8, created_by = $9, created_by_email = $10
WHERE id = $1
