-- $1 schedule. In the order of runs, which is the order in which their rows are locked.
SELECT jobs.id, jobs.node_id, jobs.preset, jobs.script_sha256
FROM runs
JOIN jobs ON jobs.run_id = runs.id AND jobs.status = 'QUEUED'
WHERE runs.schedule_id = $1 AND (jobs.holds & 8) = 8
ORDER BY runs.id, jobs.id
