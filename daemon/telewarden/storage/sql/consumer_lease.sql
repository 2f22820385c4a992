-- Hand out to a consumer ($1) what it may read ($2, null for all): at most $3 events, for $4.
select epoch, position, kind, channel_id, message_id, changed_at, deliveries, due_at,
    at_epoch, at_position, channels, kinds, died, again_in_s, more
from telegram_gateway.lease_deliveries($1, $2, $3, $4)
