SELECT s.schedule_id, s.outcome, COUNT(*), MAX(s.due_at)
FROM schedule_slots s LEFT JOIN runs r ON r.id = s.run_id
WHERE s.due_at >= $1
  AND (s.outcome = 'missed' OR (s.outcome = 'skipped' AND s.detail <> 'paused') OR r.status = 'FAILED')
GROUP BY s.schedule_id, s.outcome
ORDER BY MAX(s.due_at) DESC, s.schedule_id, s.outcome
LIMIT $2
