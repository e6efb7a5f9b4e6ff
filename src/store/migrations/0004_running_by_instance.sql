-- A poll asks for what its own agent instance runs, however much others run on the same node.
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (node_id, claimed_by, cancel_requested_at, id) WHERE status = 'RUNNING';
