-- A node's code; a later one takes its place. $1 node, $2 code's hash, $3 now, $4 until when it holds.
INSERT INTO node_enrolments (node_id, code_sha256, created_at, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (node_id) DO UPDATE SET code_sha256 = excluded.code_sha256, created_at = excluded.created_at,
    expires_at = excluded.expires_at
