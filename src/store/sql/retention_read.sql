SELECT seen_at, steady_since FROM retention_clock WHERE id = 1
