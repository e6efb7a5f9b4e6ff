-- The columns of a node that a search needs. The conditions for its words follow.
SELECT id, coalesce(os_id, ''), coalesce(os_id_like, '') FROM nodes WHERE 1 = 1
