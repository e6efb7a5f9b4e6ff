-- A list with a rare status, or of a preset that nobody has run, does not walk through all jobs.
CREATE INDEX jobs_preset ON jobs (preset, id);
CREATE INDEX jobs_ended ON jobs (status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
CREATE INDEX jobs_ended_owner ON jobs (created_by, status, id) WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
