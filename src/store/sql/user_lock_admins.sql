-- Locks every ADMIN's row until the transaction ends and returns their ids. Without the lock, two
-- ADMINs who remove each other at the same time would each see the other one as left. The update
-- changes nothing.
UPDATE users SET role = role WHERE role = 'ADMIN' RETURNING id
