-- Uses a code up, whether it still holds or not. $1 code's hash.
DELETE FROM node_enrolments WHERE code_sha256 = $1 RETURNING node_id, expires_at
