DELETE FROM chunks WHERE job_id = $1 AND stream = $2 AND start_offset < $3
