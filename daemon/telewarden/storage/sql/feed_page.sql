-- The feed after a position ($1 epoch, $2 number), oldest first, at most $3 events of the kinds $4 and of {channels}.
-- A row without an id is an event whose message is gone with its day.
-- Plan: for each channel the next entries of message_keys_feed and of message_changes' primary key; the rows of what is left.
with recursive known as (
    (select channel_id from telegram_gateway.message_keys order by channel_id limit 1)
    union all
    select (select k.channel_id from telegram_gateway.message_keys k
            where k.channel_id > known.channel_id order by k.channel_id limit 1)
    from known where known.channel_id is not null
), found as (
    select e.* from {channels}
    cross join lateral (
        (select k.channel_id, k.message_id, k.epoch, k.position, 'posted' as kind, k.created_at as changed_at
         from telegram_gateway.message_keys k
         where k.channel_id = wanted.channel_id and (k.epoch, k.position) > ($1::bigint, $2::bigint)
             and 'posted' = any($4::text[])
         order by k.epoch, k.position limit $3)
        union all
        (select c.channel_id, c.message_id, c.epoch, c.position, c.kind, c.changed_at
         from telegram_gateway.message_changes c
         where c.channel_id = wanted.channel_id and (c.epoch, c.position) > ($1::bigint, $2::bigint)
             and c.kind = any($4::text[])
         order by c.epoch, c.position limit $3)
    ) e
    order by e.epoch, e.position limit $3
)
select f.epoch, f.position, f.kind, f.changed_at, k.channel_id as of_channel, k.message_id as of_message, {state}
from found f
join telegram_gateway.message_keys k on k.channel_id = f.channel_id and k.message_id = f.message_id
left join telegram_gateway.messages m on m.id = k.id and m.created_at = k.created_at
order by f.epoch, f.position
