-- How many messages wait in some channels ($1). $2: the poll floor. Plan: index messages_open, of the days since $2.
select count(*)
from telegram_gateway.messages
where channel_id = any($1::text[]) and status in ('received', 'queued') and status = 'received' and deleted_at is null
  and created_at >= $2
