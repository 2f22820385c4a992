-- The position of the event after which $1 follow; no row where there are no more than that.
-- Plan: for each channel the newest entries of both indexes, backwards.
with recursive known as (
    (select channel_id from telegram_gateway.message_keys order by channel_id limit 1)
    union all
    select (select k.channel_id from telegram_gateway.message_keys k
            where k.channel_id > known.channel_id order by k.channel_id limit 1)
    from known where known.channel_id is not null
)
select e.epoch, e.position from known
cross join lateral (
    (select k.epoch, k.position from telegram_gateway.message_keys k where k.channel_id = known.channel_id
     order by k.epoch desc, k.position desc limit $1 + 1)
    union all
    (select c.epoch, c.position from telegram_gateway.message_changes c where c.channel_id = known.channel_id
     order by c.epoch desc, c.position desc limit $1 + 1)
) e
order by e.epoch desc, e.position desc offset $1 limit 1
