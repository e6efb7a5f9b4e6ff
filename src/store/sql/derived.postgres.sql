-- Views, functions and triggers, which contain no data. Recreated at the first start after a change
-- of this file.

-- Bytes as text. Lines with invalid UTF-8 show the invalid bytes as \ooo and a backslash as \\.
CREATE OR REPLACE FUNCTION hyprbox_line(escaped TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(decode(escaped, 'escape'), 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN escaped;
END $$;

CREATE OR REPLACE FUNCTION hyprbox_text(bytes BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN (SELECT string_agg(hyprbox_line(line), E'\n' ORDER BY number)
            FROM unnest(string_to_array(encode(bytes, 'escape'), E'\n')) WITH ORDINALITY AS lines (line, number));
END $$;

-- job_logs: the kept output as text, for operators who type SQL. The first chunk is cut at the
-- start of the kept tail.
CREATE OR REPLACE VIEW job_logs AS
SELECT
    jobs.id AS job_id,
    coalesce((
        SELECT hyprbox_text(string_agg(
            CASE WHEN start_offset < jobs.stdout_start
                THEN substring(data FROM CAST(jobs.stdout_start - start_offset + 1 AS INTEGER)) ELSE data END,
            '' ORDER BY start_offset))
        FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stdout'), '') AS stdout,
    coalesce((
        SELECT hyprbox_text(string_agg(
            CASE WHEN start_offset < jobs.stderr_start
                THEN substring(data FROM CAST(jobs.stderr_start - start_offset + 1 AS INTEGER)) ELSE data END,
            '' ORDER BY start_offset))
        FROM chunks WHERE chunks.job_id = jobs.id AND stream = 'stderr'), '') AS stderr
FROM jobs;

-- job_scripts: each job's script, for operators who type SQL. Scripts of runs are stored once.
CREATE OR REPLACE VIEW job_scripts AS
SELECT jobs.id AS job_id,
    CASE WHEN jobs.script = '' THEN coalesce(scripts.script, '') ELSE jobs.script END AS script
FROM jobs LEFT JOIN scripts ON scripts.sha256 = jobs.script_sha256;

-- Notifies servers of jobs that somebody else has queued or changed. Servers notify one another
-- after their commits, for many changes at a time, since PostgreSQL commits transactions with
-- NOTIFY one at a time.
CREATE OR REPLACE FUNCTION hyprbox_tell_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('hyprbox.tells', true) IS DISTINCT FROM 'itself' THEN
        PERFORM pg_notify('hyprbox', 'j ' || NEW.id || ' ' || NEW.node_id);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS jobs_tell_queued ON jobs;
CREATE TRIGGER jobs_tell_queued AFTER INSERT ON jobs
FOR EACH ROW EXECUTE FUNCTION hyprbox_tell_job();

DROP TRIGGER IF EXISTS jobs_tell_changed ON jobs;
CREATE TRIGGER jobs_tell_changed AFTER UPDATE OF status, cancel_requested_at, held ON jobs
FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at
    OR OLD.held IS DISTINCT FROM NEW.held)
EXECUTE FUNCTION hyprbox_tell_job();

-- Deletes a job's secrets when the job ends, even if somebody ends it with SQL.
CREATE OR REPLACE FUNCTION hyprbox_erase_secrets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM job_secrets WHERE job_id = NEW.id;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS jobs_erase_secrets ON jobs;
CREATE TRIGGER jobs_erase_secrets AFTER UPDATE OF status ON jobs
FOR EACH ROW WHEN (NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))
EXECUTE FUNCTION hyprbox_erase_secrets();

-- What the ledger must contain. An INSERT by hand leaves ledger_no at 0, and so does an UPDATE: a row that somebody has
-- inserted gets no entry, and a job that somebody has ended gets one that says so. A job whose final status somebody
-- has changed gets none: it contradicts the entry that exists. Moving a database copies the ledger itself.
CREATE OR REPLACE FUNCTION hyprbox_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('hyprbox.ledger', true) IS DISTINCT FROM 'copied' THEN
        INSERT INTO ledger_due (id, kind, row_id)
        VALUES (to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || ' ' || gen_random_uuid(), TG_ARGV[0], NEW.id);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS jobs_ledger_queued ON jobs;
CREATE TRIGGER jobs_ledger_queued AFTER INSERT ON jobs
FOR EACH ROW WHEN (NEW.ledger_no = 1)
EXECUTE FUNCTION hyprbox_ledger('job_queued');

DROP TRIGGER IF EXISTS jobs_ledger_ended ON jobs;
CREATE TRIGGER jobs_ledger_ended AFTER UPDATE OF status ON jobs
FOR EACH ROW WHEN (NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NEW.ledger_no <> OLD.ledger_no)
EXECUTE FUNCTION hyprbox_ledger('job_ended');

DROP TRIGGER IF EXISTS jobs_ledger_by_hand ON jobs;
CREATE TRIGGER jobs_ledger_by_hand AFTER UPDATE OF status ON jobs
FOR EACH ROW WHEN (NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NEW.ledger_no = OLD.ledger_no
    AND OLD.status IN ('QUEUED', 'RUNNING'))
EXECUTE FUNCTION hyprbox_ledger('job_ended_by_hand');

DROP TRIGGER IF EXISTS audit_ledger ON audit_entries;
CREATE TRIGGER audit_ledger AFTER INSERT ON audit_entries
FOR EACH ROW WHEN (NEW.ledger_no = 1)
EXECUTE FUNCTION hyprbox_ledger('audit');
