-- Deletes a code, even if it has expired. $1 hash of the code.
DELETE FROM node_enrolments WHERE code_sha256 = $1 RETURNING node_id, expires_at
