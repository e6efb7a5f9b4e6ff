INSERT INTO schedules (id, request, preset, cron, time_zone, paused, next_due_at, created_by, created_by_email, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
