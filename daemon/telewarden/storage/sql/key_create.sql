-- A new key ($1 id, $2 name, $3 consumer, $4 digest, $5 scopes, $6 channels or null, $7 expiry or null, $8 the key that it
-- replaces or null).
insert into telegram_gateway.api_keys (id, name, consumer, digest, scopes, channels, expires_at, rotated_from)
values ($1, $2, $3, $4, $5::text[], $6::text[], $7, $8)
returning id, name, consumer, digest, scopes, channels, created_at, expires_at, revoked_at, last_used_at, rotated_from
