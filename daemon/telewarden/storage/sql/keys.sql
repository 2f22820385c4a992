-- All stored keys, or one ($1 an id, or null), the newest first.
select id, name, consumer, digest, scopes, channels, created_at, expires_at, revoked_at, last_used_at, rotated_from
from telegram_gateway.api_keys where $1::text is null or id = $1
order by created_at desc, id
