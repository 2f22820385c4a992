-- The versions of keys whose message changed.
update telegram_gateway.message_keys k
set content_version = changed.content_version, status_at = changed.status_at
from unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[])
     as changed (channel_id, message_id, content_version, status_at)
where k.channel_id = changed.channel_id and k.message_id = changed.message_id
