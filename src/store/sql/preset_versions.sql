-- $1 name; $2 versions before this one; $3 limit.
SELECT version, sha256, source, created_by, created_by_email, created_at FROM preset_versions WHERE name = $1 AND version < $2
ORDER BY version DESC LIMIT $3
