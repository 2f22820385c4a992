-- Acknowledgements of some messages ($1 channels, $2 message ids, pairwise). Plan: primary key.
select a.channel_id, a.message_id, a.consumer, a.acknowledged_at
from unnest($1::text[], $2::bigint[]) as wanted (channel_id, message_id)
join telegram_gateway.acknowledgements a using (channel_id, message_id)
