INSERT INTO preset_versions (name, version, sha256, source, created_by, created_by_email, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
