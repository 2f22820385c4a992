-- Dead letters of a consumer ($1) that a key may read ($2, null for all), after a position ($3 epoch, $4 number); at most $5.
-- Plan: deliveries_dead in the order of the answer.
select d.epoch, d.position, d.kind, d.channel_id, d.message_id, d.changed_at, d.deliveries, d.dead_at as due_at
from telegram_gateway.deliveries d
where d.consumer = $1 and d.dead_at is not null and (d.epoch, d.position) > ($3::bigint, $4::bigint)
    and ($2::text[] is null or d.channel_id = any($2::text[]))
order by d.epoch, d.position
limit $5
