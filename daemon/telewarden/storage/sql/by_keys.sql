-- Messages by channel and message id ($1, $2 pairwise). Plan: message_keys' primary key, then (id, created_at).
select {state}
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.message_keys k using (channel_id, message_id)
join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at
