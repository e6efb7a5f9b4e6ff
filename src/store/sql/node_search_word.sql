
AND lower(id || ' ' || name || ' ' || coalesce(hostname, '') || ' ' || coalesce(os_pretty_name, '') || ' ' || labels)
    LIKE ${word} ESCAPE '\'
