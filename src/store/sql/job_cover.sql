-- $1 job, $2 standing envelope, $3 the key of the person who signed it.
UPDATE jobs SET standing_id = $2, signed_by = $3, holds = holds & 7,
    held = CASE WHEN (holds & 7) = 0 THEN 0 ELSE 1 END
WHERE id = $1 AND status = 'QUEUED' AND (holds & 8) = 8
