-- $1 name; $2 now.
UPDATE presets SET deleted_at = $2, change_no = (SELECT max(change_no) + 1 FROM presets) WHERE name = $1
