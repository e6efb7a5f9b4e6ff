UPDATE node_tokens SET revoked_at = coalesce(revoked_at, $3) WHERE node_id = $1 AND id = $2
