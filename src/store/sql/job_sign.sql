-- $1 job, $2 a person's signature over its envelope, $3 the person's key.
UPDATE jobs SET person_signature = $2, signed_by = $3, holds = holds & 7,
    held = CASE WHEN (holds & 7) = 0 THEN 0 ELSE 1 END
WHERE id = $1 AND status = 'QUEUED'
