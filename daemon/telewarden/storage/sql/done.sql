-- Which of some messages ($1 channels, $2 message ids, pairwise) are acknowledged or no longer wait.
select channel_id, message_id
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.acknowledgements a using (channel_id, message_id)
union
select channel_id, message_id
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.message_keys k using (channel_id, message_id)
join telegram_gateway.messages m using (id, created_at, channel_id, message_id)
where m.status <> 'received' or m.deleted_at is not null
