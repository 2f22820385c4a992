-- A key ($1) is valid no more; the first time stays.
update telegram_gateway.api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1
returning id, name, consumer, digest, scopes, channels, created_at, expires_at, revoked_at, last_used_at, rotated_from
