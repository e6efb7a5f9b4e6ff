-- Deletes standing envelopes that no job names, if a newer one of the schedule counts or the
-- schedule no longer exists.
DELETE FROM standing_envelopes
WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.standing_id = standing_envelopes.id)
  AND (NOT EXISTS (SELECT 1 FROM schedules WHERE schedules.id = standing_envelopes.schedule_id)
       OR EXISTS (SELECT 1 FROM standing_envelopes AS newer
                  WHERE newer.schedule_id = standing_envelopes.schedule_id AND newer.id > standing_envelopes.id))
