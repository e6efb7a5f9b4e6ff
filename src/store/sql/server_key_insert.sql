-- $1 digest. The first one stays.
INSERT INTO server_key (id, digest) VALUES (1, $1) ON CONFLICT (id) DO NOTHING
