-- The highest message id stored for each of some channels. Plan: message_keys' primary key, backwards.
select wanted.channel_id, coalesce((
    select max(k.message_id) from telegram_gateway.message_keys k where k.channel_id = wanted.channel_id
), 0) as top
from unnest($1::text[]) as wanted (channel_id)
