-- What a person reads in a row: the preset's name, release=v1 for the JSON "release":"v1", and why
-- and where the job failed. Secrets are not in this table.
lower(preset || ' ' || replace(replace(replace(params, '":', '='), '"', ''), '\\', '\') || ' ' || coalesce(error_msg, '')
    || ' ' || coalesce('exit ' || CAST(exit_code AS TEXT), '') || ' ' || coalesce(signal, '')
    || ' ' || CASE WHEN status = 'FAILED' THEN coalesce(step, '') || ' ' || coalesce((SELECT name FROM job_steps
        WHERE job_steps.job_id = jobs.id ORDER BY number DESC LIMIT 1), '') ELSE '' END)
    LIKE {word} ESCAPE '\'
