-- What waits in some channels ($1), the oldest first, at most so many ($2).
-- Plan: for each channel index messages_open in the order of the answer, of the days since the poll floor.
select {state}
from (
    select w.* from unnest($1::text[]) as wanted (channel_id)
    cross join lateral (
        select * from telegram_gateway.messages m
        where m.channel_id = wanted.channel_id and m.status in ('received', 'queued') and m.deleted_at is null
            and m.created_at >= (select floor from telegram_gateway.poll_floor)
        order by m.received_at, m.id
        limit $2
    ) w
    order by w.received_at, w.id
    limit $2
) m
left join telegram_gateway.message_keys k on k.channel_id = m.channel_id and k.message_id = m.message_id
order by m.received_at, m.id
