-- One channel's rows of some statuses, oldest first ($1 channel, $2 statuses, $3 consumer to leave out or null, $4 limit).
-- Plan: index messages_polling of every day.
select {state}
from telegram_gateway.messages m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
where m.channel_id = $1 and m.status = any($2::text[]) and m.deleted_at is null
  and ($3::text is null or m.metadata ->> 'processed_by' is distinct from $3)
order by m.received_at, m.id
limit $4
