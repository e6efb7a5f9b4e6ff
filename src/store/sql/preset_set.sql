-- $1 name; $2 version.
INSERT INTO presets (name, version, change_no)
VALUES ($1, $2, (SELECT coalesce(max(change_no), 0) + 1 FROM presets))
ON CONFLICT (name) DO UPDATE SET version = excluded.version, change_no = excluded.change_no, deleted_at = NULL
