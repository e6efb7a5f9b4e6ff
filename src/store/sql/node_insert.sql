INSERT INTO nodes (id, name, labels, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING
