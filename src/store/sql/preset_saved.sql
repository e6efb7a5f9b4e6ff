SELECT presets.name, presets.change_no, CAST(CASE WHEN presets.deleted_at IS NULL THEN 0 ELSE 1 END AS BIGINT),
    saved.version, saved.sha256, saved.source, saved.created_by, saved.created_by_email, saved.created_at
FROM presets JOIN preset_versions AS saved ON saved.name = presets.name AND saved.version = presets.version
