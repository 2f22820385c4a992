-- A channel's messages with ids from $2 to $3, as far as they are compared with Telegram. Plan: message_keys' primary key.
select k.message_id, coalesce(m.text, m.caption) as text, m.status = 'deleted' or m.deleted_at is not null as deleted
from telegram_gateway.message_keys k
join telegram_gateway.messages m using (id, created_at, channel_id, message_id)
where k.channel_id = $1 and k.message_id between $2 and $3
