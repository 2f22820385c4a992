-- The oldest events that were set aside and not decided on ($1: at most).
select epoch, position, channel_id, message_id, event, error, set_aside_at
from telegram_gateway.poison_events where outcome is null
order by epoch, position
limit $1
