-- A page of what waits in one channel ($4), for a warm: keyset pagination after ($1 received_at, $2 id), at most $3 rows.
-- $5: the poll floor. Plan: index messages_open in the order of the answer, of the days since $5.
select {state}
from telegram_gateway.messages m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
where m.channel_id = $4 and m.status in ('received', 'queued') and m.status = 'received' and m.deleted_at is null
  and m.created_at >= $5 and (m.received_at, m.id) > ($1::timestamptz, $2::uuid)
order by m.received_at, m.id
limit $3
