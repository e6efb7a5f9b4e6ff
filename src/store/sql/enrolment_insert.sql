-- Sets a node's code and replaces an earlier one. $1 node, $2 hash of the code, $3 now, $4 expiry.
INSERT INTO node_enrolments (node_id, code_sha256, created_at, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (node_id) DO UPDATE SET code_sha256 = excluded.code_sha256, created_at = excluded.created_at,
    expires_at = excluded.expires_at
