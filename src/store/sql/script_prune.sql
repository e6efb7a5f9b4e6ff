-- Deletes scripts that no job names and that no run has used since $1.
DELETE FROM scripts WHERE used_at < $1
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.script = '' AND jobs.script_sha256 = scripts.sha256)
