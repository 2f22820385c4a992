-- As waiting.sql, for statuses among those that consumers poll. $5: a time before which none of them is, by an earlier
-- answer. Each row has the present one (poll_floor); if that is earlier, rows are missing, and it has to be asked again.
-- Where nothing waits there is one row without an id.
-- Plan: index messages_open in the order of the answer, of the days since $5.
select f.poll_floor, w.*
from (select coalesce(min(floor), '-infinity') as poll_floor from telegram_gateway.poll_floor) f
left join lateral (
    select {state}
    from telegram_gateway.messages m
    left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
    where m.channel_id = $1 and m.status in ('received', 'queued') and m.status = any($2::text[])
      and m.deleted_at is null and m.created_at >= $5
      and ($3::text is null or m.metadata ->> 'processed_by' is distinct from $3)
    order by m.received_at, m.id
    limit $4
) w on true
order by w.received_at, w.id
