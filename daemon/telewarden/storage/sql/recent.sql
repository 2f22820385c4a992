-- The newest messages by their arrival. Plan: index messages_received_at of every day, until there are enough.
select {state}
from (
    select * from telegram_gateway.messages m where {condition} order by m.received_at desc, m.id desc limit $1
) m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
order by m.received_at desc, m.id desc
