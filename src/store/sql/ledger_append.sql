-- $1 JSON [[seq, kind, id, at, row's SHA-256, hash], …].
INSERT INTO ledger (seq, kind, id, at, row_sha256, hash)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1)
