-- When keys were last used ($1 ids, $2 times); the latest of several processes stays.
update telegram_gateway.api_keys k set last_used_at = used.at
from unnest($1::text[], $2::timestamptz[]) as used (id, at)
where k.id = used.id and (k.last_used_at is null or k.last_used_at < used.at)
