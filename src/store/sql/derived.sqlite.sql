-- job_logs: the kept output as text, for operators who type SQL. The first chunk is cut at the
-- start of the kept tail. A subquery sorts, since ORDER BY inside group_concat needs SQLite 3.44,
-- and Debian 12's sqlite3 could not open the database at all with a view that it can't parse.
DROP VIEW IF EXISTS job_logs;
CREATE VIEW job_logs AS
SELECT
    jobs.id AS job_id,
    coalesce((
        SELECT group_concat(piece, '') FROM (
            SELECT CAST(CASE WHEN start_offset < jobs.stdout_start
                THEN substr(data, jobs.stdout_start - start_offset + 1) ELSE data END AS TEXT) AS piece
            FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stdout' ORDER BY start_offset)), '') AS stdout,
    coalesce((
        SELECT group_concat(piece, '') FROM (
            SELECT CAST(CASE WHEN start_offset < jobs.stderr_start
                THEN substr(data, jobs.stderr_start - start_offset + 1) ELSE data END AS TEXT) AS piece
            FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stderr' ORDER BY start_offset)), '') AS stderr
FROM jobs;

-- job_scripts: each job's script, for operators who type SQL. Scripts of runs are stored once.
DROP VIEW IF EXISTS job_scripts;
CREATE VIEW job_scripts AS
SELECT jobs.id AS job_id,
    CASE WHEN jobs.script = '' THEN coalesce(scripts.script, '') ELSE jobs.script END AS script
FROM jobs LEFT JOIN scripts ON scripts.sha256 = jobs.script_sha256;

-- Deletes a job's secrets when the job ends, even if somebody ends it with SQL. They are
-- overwritten first, since SQLite does not overwrite freed pages.
DROP TRIGGER IF EXISTS jobs_erase_secrets;
CREATE TRIGGER jobs_erase_secrets AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
BEGIN
    UPDATE job_secrets SET sealed = zeroblob(length(sealed)) WHERE job_id = NEW.id;
    DELETE FROM job_secrets WHERE job_id = NEW.id;
END;

-- What the ledger must contain. An INSERT by hand leaves ledger_no at 0, and so does an UPDATE: a row that somebody has
-- inserted gets no entry, and a job that somebody has ended gets one that says so. A job whose final status somebody
-- has changed gets none: it contradicts the entry that exists.
DROP TRIGGER IF EXISTS jobs_ledger_queued;
CREATE TRIGGER jobs_ledger_queued AFTER INSERT ON jobs
WHEN NEW.ledger_no = 1
BEGIN
    INSERT INTO ledger_due (id, kind, row_id)
    VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || ' ' || hex(randomblob(8)), 'job_queued', NEW.id);
END;

DROP TRIGGER IF EXISTS jobs_ledger_ended;
CREATE TRIGGER jobs_ledger_ended AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
    AND (NEW.ledger_no <> OLD.ledger_no OR OLD.status IN ('QUEUED', 'RUNNING'))
BEGIN
    INSERT INTO ledger_due (id, kind, row_id)
    VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || ' ' || hex(randomblob(8)),
        CASE WHEN NEW.ledger_no <> OLD.ledger_no THEN 'job_ended' ELSE 'job_ended_by_hand' END, NEW.id);
END;

DROP TRIGGER IF EXISTS audit_ledger;
CREATE TRIGGER audit_ledger AFTER INSERT ON audit_entries
WHEN NEW.ledger_no = 1
BEGIN
    INSERT INTO ledger_due (id, kind, row_id)
    VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || ' ' || hex(randomblob(8)), 'audit', NEW.id);
END;
