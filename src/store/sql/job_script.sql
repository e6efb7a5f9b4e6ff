CASE WHEN script = '' THEN coalesce((SELECT scripts.script FROM scripts WHERE scripts.sha256 = jobs.script_sha256), '')
ELSE script END
