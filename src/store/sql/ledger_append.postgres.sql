-- $1 JSON [[seq, kind, id, at, row's SHA-256, hash], …].
INSERT INTO ledger (seq, kind, id, at, row_sha256, hash)
SELECT CAST(value ->> 0 AS BIGINT), value ->> 1, value ->> 2, CAST(value ->> 3 AS TIMESTAMPTZ), value ->> 4, value ->> 5
FROM jsonb_array_elements(CAST(CAST($1 AS TEXT) AS JSONB)) AS given (value)
