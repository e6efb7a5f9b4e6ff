-- Compares text byte by byte, as SQLite does, independent of the database's locale. Paged lists
-- depend on this order. Changes only columns that have another collation.
DO $$
DECLARE
    name TEXT;
    field TEXT;
BEGIN
    FOR name, field IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
          AND table_name IN ('users', 'sessions', 'user_tokens', 'login_attempts', 'nodes', 'node_tokens',
            'node_instances', 'node_enrolments', 'node_status_changes', 'runs', 'jobs', 'drift', 'scripts', 'job_secrets', 'job_steps', 'chunks',
            'idempotency_keys', 'audit_entries', 'presets', 'preset_versions', 'sign_keys',
            'server_identity', 'schedules', 'schedule_slots', 'stored_secrets', 'standing_envelopes',
            'channels', 'rules', 'deliveries', 'node_alarms',
            'ledger', 'ledger_state', 'ledger_due', 'ledger_faults')
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', name, field);
    END LOOP;
END $$;
