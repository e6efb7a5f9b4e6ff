-- Locks every ADMIN's row until the transaction ends and gives their ids: two that remove each other at once would
-- otherwise both see one left (in a database with several writers). The update changes nothing.
UPDATE users SET role = role WHERE role = 'ADMIN' RETURNING id
