DELETE FROM schedule_slots WHERE (schedule_id, due_at) IN (
    SELECT schedule_id, due_at FROM schedule_slots WHERE due_at < $1 ORDER BY due_at LIMIT 1000)
RETURNING schedule_id, due_at
