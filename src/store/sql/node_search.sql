-- Nodes as far as a search needs them; its words follow.
SELECT id, coalesce(os_id, ''), coalesce(os_id_like, '') FROM nodes WHERE 1 = 1
